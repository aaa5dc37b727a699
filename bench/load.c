/*
 * The load: one process, one epoll loop. It compares every echoed byte.
 *
 *     load -p PORT -P PID [-c CONNECTIONS] [-i IDLE] [-w WARM-UP] [-s SECONDS] [-1]
 *
 * Keep-alive: each connection has one record outstanding. With -1, each client sends one record, reads the
 * echo and the server's FIN, closes, and connects again. IDLE connections are opened before and stay idle; an
 * echo on the last one of each batch shows that the server has accepted the batch.
 *
 * Prints one JSON object about the SECONDS after the WARM-UP: the number of echoes; percentiles of their time
 * from send (-1: from connect) to the last byte (-1: to the FIN), in microseconds; the CPU time of the server,
 * process PID, and of the load, in nanoseconds; the server's resident memory without and with the idle
 * connections, in bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { RECORD = 250, EVENTS = 1024, BATCH = 256, PER_SOURCE = 1000, STEPS = 64, STEP_BITS = 6, SILENCE = 10 };

struct client {
    int fd;
    size_t got;
    long began;
    char record[RECORD];
};

static long counts[64 * STEPS]; /* of times in ns: 64 equal buckets in each power of two, 1.6 % wide at most */
static long echoes;
static int port, one_record, poller;

static void fail(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    exit(1);
}

static long clock_ns(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) < 0)
        fail("the server has ended");
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static long resident(int pid)
{
    char line[256];
    long kilobytes = 0;
    snprintf(line, sizeof line, "/proc/%d/smaps_rollup", pid); /* exact; /proc/PID/status is not (proc(5)) */
    FILE *file = fopen(line, "r");
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file) && sscanf(line, "Rss: %ld", &kilobytes) != 1)
        ;
    fclose(file);
    return kilobytes * 1024;
}

static void count(long ns)
{
    int power = ns < STEPS ? 0 : 63 - __builtin_clzl((unsigned long)ns) - STEP_BITS;
    counts[(power << STEP_BITS) + (ns >> power)]++;
}

static double quantile_us(double share)
{
    long seen = 0;
    for (int i = 0; i < 63 * STEPS; i++) {
        seen += counts[i];
        if (seen && (double)seen >= share * (double)echoes) {
            int power = i < STEPS * 2 ? 0 : (i >> STEP_BITS) - 1;
            return ((double)(i - (power << STEP_BITS)) + 0.5) * (double)(1L << power) / 1e3;
        }
    }
    return 0;
}

/* A blocking connect(2), because on the loopback interface it waits only if the server's backlog is full. */
static int connected(unsigned source)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(source)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0)
        fail("socket: %s", strerror(errno));
    if (source != INADDR_LOOPBACK) {
        setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
            fail("bind: %s", strerror(errno));
    }
    if (!one_record)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        fail("connect: %s", strerror(errno));
    return fd;
}

static void begin(struct client *c)
{
    c->began = clock_ns(CLOCK_MONOTONIC);
    if (one_record) {
        c->fd = connected(INADDR_LOOPBACK); /* the server closes first, so no TIME-WAIT holds a port of the load's */
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
    }
    c->got = 0;
    memcpy(c->record, &c->began, sizeof c->began); /* each record differs from the ones before */
    if (send(c->fd, c->record, RECORD, MSG_DONTWAIT | MSG_NOSIGNAL) != RECORD)
        fail("send: %s", strerror(errno));
}

static void readable(struct client *c)
{
    char echoed[RECORD + 1];
    ssize_t got = recv(c->fd, echoed, sizeof echoed, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got < 0)
        fail("recv: %s", strerror(errno));
    if (got == 0 && (!one_record || c->got < RECORD))
        fail("the server closed a connection before the echo was complete");
    if ((size_t)got > RECORD - c->got || memcmp(echoed, c->record + c->got, (size_t)got))
        fail("the echo differs from the record");
    c->got += (size_t)got;
    if (got && (one_record || c->got < RECORD))
        return;
    count(clock_ns(CLOCK_MONOTONIC) - c->began);
    echoes++;
    if (one_record)
        close(c->fd);
    begin(c);
}

static void open_idle(int number)
{
    char record[RECORD] = "idle", echoed[RECORD];
    for (int i = 0; i < number; i++) {
        unsigned source = INADDR_LOOPBACK + ((unsigned)(1 + i / PER_SOURCE) << 8); /* 127.0.1.1, 127.0.2.1, ... */
        int fd = connected(source);
        if (i % BATCH < BATCH - 1 && i < number - 1)
            continue;
        if (send(fd, record, RECORD, MSG_NOSIGNAL) != RECORD || recv(fd, echoed, RECORD, MSG_WAITALL) != RECORD)
            fail("no echo on connection %d of %d", i + 1, number);
    }
}

static void run_until(long end)
{
    struct epoll_event events[EVENTS];
    while (clock_ns(CLOCK_MONOTONIC) < end) {
        int ready = epoll_wait(poller, events, EVENTS, SILENCE * 1000);
        if (ready == 0)
            fail("no echo for %d s", SILENCE);
        for (int i = 0; i < ready; i++)
            readable(events[i].data.ptr);
    }
}

int main(int argc, char **argv)
{
    int option, pid = 0, connections = 0, idle = 0;
    double warm_up = 0.2, seconds = 2;
    while ((option = getopt(argc, argv, "p:P:c:i:w:s:1")) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'P': pid = atoi(optarg); break;
        case 'c': connections = atoi(optarg); break;
        case 'i': idle = atoi(optarg); break;
        case 'w': warm_up = atof(optarg); break;
        case 's': seconds = atof(optarg); break;
        case '1': one_record = 1; break;
        default: return 2;
        }
    }
    clockid_t server_clock, own_clock = CLOCK_PROCESS_CPUTIME_ID;
    if (!port || clock_getcpuclockid(pid, &server_clock))
        fail("-p or -P is missing, or there is no such process");
    alarm((unsigned)(warm_up + seconds) + 30); /* so that the load ends in every case */

    open_idle(1);
    long rss_before = resident(pid);
    open_idle(idle);
    long rss_after = resident(pid);

    struct client *clients = calloc((size_t)connections + 1, sizeof *clients);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || poller < 0)
        fail("%s", strerror(errno));
    for (int i = 0; i < connections; i++) {
        for (int j = 0; j < RECORD; j++)
            clients[i].record[j] = (char)(i + j);
        if (!one_record) {
            clients[i].fd = connected(INADDR_LOOPBACK);
            struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
            epoll_ctl(poller, EPOLL_CTL_ADD, clients[i].fd, &event);
        }
    }
    for (int i = 0; i < connections; i++)
        begin(&clients[i]);

    long began = clock_ns(CLOCK_MONOTONIC) + (long)(warm_up * 1e9);
    if (connections)
        run_until(began);
    echoes = 0;
    memset(counts, 0, sizeof counts);
    began = clock_ns(CLOCK_MONOTONIC);
    long server_before = clock_ns(server_clock), own_before = clock_ns(own_clock);
    if (connections)
        run_until(began + (long)(seconds * 1e9));
    long server_ns = clock_ns(server_clock) - server_before, own_ns = clock_ns(own_clock) - own_before;
    double took = (double)(clock_ns(CLOCK_MONOTONIC) - began) / 1e9;
    printf("{\"echoes\": %ld, \"seconds\": %.6f, \"server_cpu_ns\": %ld, \"load_cpu_ns\": %ld, \"p50_us\": %.2f, "
           "\"p99_us\": %.2f, \"rss_before\": %ld, \"rss_after\": %ld}\n",
           echoes, took, server_ns, own_ns, quantile_us(0.50), quantile_us(0.99), rss_before, rss_after);
    return 0;
}
