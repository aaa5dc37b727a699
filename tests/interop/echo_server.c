/* A server of the echo exchange: it waits for a whole record, sends the same bytes and closes.
   It serves one connection after another.

   usage: echo_server PORT [CONNECTIONS [TIMEOUT_SECONDS]]
   PORT 0 takes a free port. Exit status: 0 all connections have ended, echoed or not; 1 cannot
   listen or accept; 2 usage. */

#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { RECORD = 250, BACKLOG = 10, DEFAULT_TIMEOUT = 30 };

static const long long SECOND = 1000000; /* in microseconds, the unit of now() and select() */

static long whole_number(const char *text, long least, long most)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || number < least || number > most)
        return -1;
    return number;
}

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec / 1000;
}

static int listening(long port)
{
    const int on = 1;
    const int off = 0;
    struct sockaddr_in6 address = {
        .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT, .sin6_port = htons((uint16_t)port)};
    int listener = socket(AF_INET6, SOCK_STREAM, 0);
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        /* set here, because the system's bindv6only may exclude IPv4 */
        setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) < 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, BACKLOG) < 0)
        return -1;
    return listener;
}

static long port_of(int listener)
{
    struct sockaddr_in6 address;
    socklen_t size = sizeof address;
    if (getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        return -1;
    return ntohs(address.sin6_port);
}

/* Return 1 when `missing` bytes have arrived or the input has ended, 0 at the deadline, -1 on error. */
static int awaited(int connection, int missing, long long deadline)
{
    if (setsockopt(connection, SOL_SOCKET, SO_RCVLOWAT, &missing, sizeof missing) < 0)
        return -1;
    long long left = deadline - now();
    if (left <= 0)
        return 0;
    struct timeval wait = {.tv_sec = left / SECOND, .tv_usec = left % SECOND};
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(connection, &readable);
    return select(connection + 1, &readable, NULL, NULL, &wait);
}

static int gave_up(const char *reason)
{
    fprintf(stderr, "echo_server: no whole record: %s\n", reason);
    return 0;
}

/* With the low-water mark (SO_RCVLOWAT), select() returns when the whole record has arrived. A FIN
   makes it return earlier, and on systems that take the mark as a hint any byte may: the bytes are
   then read, and the rest is waited for until the same deadline. */
static int received(int connection, unsigned char *record, long timeout)
{
    long long deadline = now() + timeout * SECOND;
    for (int done = 0; done < RECORD;) {
        int awake = awaited(connection, RECORD - done, deadline);
        if (awake == 0)
            return gave_up("timeout");
        /* recv() observes the mark too: without MSG_DONTWAIT it would wait for the rest without a deadline. */
        ssize_t count = awake < 0 ? -1 : recv(connection, record + done, (size_t)(RECORD - done), MSG_DONTWAIT);
        if (count == 0)
            return gave_up("closed by the client");
        if (count < 0)
            return gave_up(strerror(errno));
        done += (int)count;
    }
    return 1;
}

static void send_back(int connection, const unsigned char *record)
{
    for (size_t done = 0; done < RECORD;) {
        ssize_t count = send(connection, record + done, RECORD - done, 0);
        if (count < 0) {
            fprintf(stderr, "echo_server: send, after %zu of %d bytes: %s\n", done, RECORD, strerror(errno));
            return;
        }
        done += (size_t)count;
    }
}

int main(int argc, char **argv)
{
    long port = argc > 1 ? whole_number(argv[1], 0, 65535) : -1;
    long connections = argc > 2 ? whole_number(argv[2], 1, 1000000) : 1;
    long timeout = argc > 3 ? whole_number(argv[3], 1, 86400) : DEFAULT_TIMEOUT;
    if (argc > 4 || port < 0 || connections < 0 || timeout < 0) {
        fprintf(stderr, "usage: echo_server PORT [CONNECTIONS [TIMEOUT_SECONDS]]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* a client that has closed must not end the server */
    int listener = listening(port);
    if (listener < 0 || (port = port_of(listener)) < 0) {
        perror("echo_server: cannot listen");
        return 1;
    }
    printf("listening on %ld\n", port);
    fflush(stdout);
    for (; connections > 0; connections--) {
        unsigned char record[RECORD];
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) {
            perror("echo_server: accept");
            return 1;
        }
        if (received(connection, record, timeout))
            send_back(connection, record);
        close(connection);
    }
    close(listener);
    return 0;
}
