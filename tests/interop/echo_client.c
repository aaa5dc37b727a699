/* A client of the echo exchange: it sends one record and compares the echo.

   usage: echo_client HOST PORT [SIZE]
   Exit status: 0 the echo is complete and equal; 1 it is not, or there is no connection; 2 usage. */

#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DEFAULT_SIZE = 250, LARGEST_SIZE = 1 << 20 };

/* The largest prime below 256. Neighbouring bytes differ, and no power of two is a multiple of
   the period, so a lost, doubled or moved piece changes the bytes that are received. */
enum { PERIOD = 251 };

static unsigned char byte_at(size_t offset)
{
    return (unsigned char)(offset % PERIOD);
}

static long whole_number(const char *text, long least, long most)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || number < least || number > most)
        return -1;
    return number;
}

static struct addrinfo *resolved(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses;

    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV; /* first without a name server: HOST may be an address */
    if (getaddrinfo(host, port, &hints, &addresses) == 0)
        return addresses;
    hints.ai_flags = AI_NUMERICSERV;
    int problem = getaddrinfo(host, port, &hints, &addresses);
    if (problem == 0)
        return addresses;
    fprintf(stderr, "echo_client: %s: %s\n", host, gai_strerror(problem));
    return NULL;
}

static int connected(const char *host, const char *port)
{
    struct addrinfo *addresses = resolved(host, port);
    if (addresses == NULL)
        return -1;
    int connection = -1;
    int problem = 0;
    for (struct addrinfo *each = addresses; each != NULL && connection < 0; each = each->ai_next) {
        int attempt = socket(each->ai_family, each->ai_socktype, each->ai_protocol);
        if (attempt >= 0 && connect(attempt, each->ai_addr, each->ai_addrlen) == 0) {
            connection = attempt;
            continue;
        }
        problem = errno;
        if (attempt >= 0)
            close(attempt);
    }
    freeaddrinfo(addresses);
    if (connection < 0)
        fprintf(stderr, "echo_client: cannot connect to %s port %s: %s\n", host, port, strerror(problem));
    return connection;
}

static int sent(int connection, size_t size)
{
    static unsigned char record[LARGEST_SIZE]; /* static: too large for some stacks */
    for (size_t offset = 0; offset < size; offset++)
        record[offset] = byte_at(offset);
    for (size_t done = 0; done < size;) {
        /* Without MSG_NOSIGNAL a closed connection would end the process by SIGPIPE, without a message. */
        ssize_t count = send(connection, record + done, size - done, MSG_NOSIGNAL);
        if (count < 0) {
            fprintf(stderr, "echo_client: send, after %zu of %zu bytes: %s\n", done, size, strerror(errno));
            return 0;
        }
        done += (size_t)count;
    }
    return 1;
}

static int received(int connection, size_t size)
{
    unsigned char piece[4096];
    for (size_t done = 0; done < size;) {
        size_t missing = size - done;
        ssize_t count = recv(connection, piece, missing < sizeof piece ? missing : sizeof piece, 0);
        if (count < 0) {
            fprintf(stderr, "echo_client: receive, after %zu of %zu bytes: %s\n", done, size, strerror(errno));
            return 0;
        }
        if (count == 0) {
            fprintf(stderr, "echo_client: closed by the server after %zu of %zu bytes\n", done, size);
            return 0;
        }
        for (ssize_t index = 0; index < count; index++, done++) {
            if (piece[index] != byte_at(done)) {
                fprintf(stderr, "echo_client: the byte at offset %zu is not what was sent\n", done);
                return 0;
            }
        }
    }
    return 1;
}

int main(int argc, char **argv)
{
    long size = argc == 4 ? whole_number(argv[3], 1, LARGEST_SIZE) : DEFAULT_SIZE;
    /* The port's range is checked here, because some getaddrinfo read 68541 as 3005 (modulo 65536). */
    if (argc < 3 || argc > 4 || size < 0 || whole_number(argv[2], 1, 65535) < 0) {
        fprintf(stderr, "usage: echo_client HOST PORT [SIZE]\n");
        return 2;
    }
    int connection = connected(argv[1], argv[2]);
    if (connection < 0)
        return 1;
    int echoed = sent(connection, (size_t)size) && received(connection, (size_t)size);
    close(connection);
    if (!echoed)
        return 1;
    printf("%ld bytes echoed\n", size);
    return 0;
}
