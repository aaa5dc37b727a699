/* Measures the round trips of an echo server: the time from before send() to after the recv() with the last byte.

   usage: rtt_client ADDRESS PORT COUNT each|kept
   Sends COUNT records of 250 bytes, each on a new connection or all on one that is kept, and prints a line with the
   round-trip time of each, in nanoseconds. Exit status: 0 all echoes are complete and equal; 1 one is not; 2 usage. */

#define _POSIX_C_SOURCE 200809L

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 250 };

static int connected(const struct addrinfo *address)
{
    int on = 1;
    int connection = socket(address->ai_family, address->ai_socktype, address->ai_protocol);

    if (connection < 0 || connect(connection, address->ai_addr, address->ai_addrlen) != 0
        || setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        perror("rtt_client: connect");
        exit(1);
    }
    return connection;
}

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static long long round_trip(int connection, unsigned char filling)
{
    unsigned char record[SIZE];
    unsigned char echo[SIZE];
    memset(record, filling, sizeof record);
    long long began = now();
    ssize_t sent = send(connection, record, sizeof record, MSG_NOSIGNAL);
    size_t done = 0;
    while (sent == SIZE && done < sizeof echo) {
        ssize_t count = recv(connection, echo + done, sizeof echo - done, 0);
        if (count <= 0)
            break;
        done += (size_t)count;
    }
    long long ended = now();
    if (done != sizeof echo || memcmp(record, echo, sizeof echo) != 0) {
        fprintf(stderr, "rtt_client: bad echo after %zu bytes\n", done);
        exit(1);
    }
    return ended - began;
}

int main(int argc, char **argv)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *address;

    if (argc != 5 || (strcmp(argv[4], "each") != 0 && strcmp(argv[4], "kept") != 0)
        || getaddrinfo(argv[1], argv[2], &hints, &address) != 0) {
        fprintf(stderr, "usage: rtt_client ADDRESS PORT COUNT each|kept\n");
        return 2;
    }
    int kept = strcmp(argv[4], "kept") == 0;
    int connection = -1;
    for (long left = atol(argv[3]); left > 0; left--) {
        if (connection < 0)
            connection = connected(address);
        printf("%lld\n", round_trip(connection, (unsigned char)left));
        if (!kept) {
            close(connection);
            connection = -1;
        }
    }
    freeaddrinfo(address);
    return 0;
}
