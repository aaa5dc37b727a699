/*
 * The exchange in C: one process, one epoll loop, level-triggered.
 *
 *     epoll PORT keep-alive|one-record
 *
 * A record is 250 bytes. Its deadline is 30 s after accept, or after the record before. The linger
 * after the last echo is 2 s. While a client does not read its echo, the server reads nothing from it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { RECORD = 250, BACKLOG = 1024, EVENTS = 1024, CHUNK = 65536, TIMEOUT = 30000, LINGER = 2000 };

/* The deadlines of one list are all set to the same time from now, so the list stays in their order. */
struct link {
    struct link *before, *after;
};

struct connection {
    struct link link; /* the first member, so a pointer to it is a pointer to its connection */
    long deadline;
    int fd;
    unsigned have; /* bytes in `begun`, the received part of a record */
    int lingering;
    char *unsent; /* echo that the send buffer had no room for */
    size_t unsent_size;
    char begun[RECORD];
};

static struct link waiting = {&waiting, &waiting}, lingering = {&lingering, &lingering};
static int poller, keep_alive;
static long now;
static char chunk[RECORD + CHUNK];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void unlink_from_list(struct link *each)
{
    each->before->after = each->after;
    each->after->before = each->before;
}

static void arm(struct connection *c, struct link *list, long milliseconds)
{
    c->deadline = now + milliseconds;
    c->link.before = list->before;
    c->link.after = list;
    list->before->after = &c->link;
    list->before = &c->link;
}

static void end(struct connection *c)
{
    unlink_from_list(&c->link);
    close(c->fd);
    free(c->unsent);
    free(c);
}

static void want(struct connection *c, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

/* The kernel has the whole echo: wait for the next record, or close the sending side and discard input. */
static void echoed(struct connection *c)
{
    unlink_from_list(&c->link);
    if (keep_alive) {
        arm(c, &waiting, TIMEOUT);
    } else {
        shutdown(c->fd, SHUT_WR);
        c->lingering = 1;
        arm(c, &lingering, LINGER);
    }
}

/* Returns 0 if the connection has failed. */
static int echo(struct connection *c, const char *records, size_t size)
{
    ssize_t sent = send(c->fd, records, size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        return 0;
    if (sent < 0)
        sent = 0;
    if ((size_t)sent == size) {
        echoed(c);
        return 1;
    }
    c->unsent_size = size - (size_t)sent;
    c->unsent = malloc(c->unsent_size);
    if (!c->unsent)
        return 0;
    memcpy(c->unsent, records + sent, c->unsent_size);
    want(c, EPOLLOUT);
    return 1;
}

static void readable(struct connection *c)
{
    ssize_t got = recv(c->fd, chunk + c->have, CHUNK, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        end(c);
        return;
    }
    if (c->lingering)
        return;
    memcpy(chunk, c->begun, c->have);
    size_t size = c->have + (size_t)got, whole = size - size % RECORD;
    if (!keep_alive && whole > RECORD)
        whole = RECORD;
    c->have = (unsigned)((size - whole) % RECORD);
    memcpy(c->begun, chunk + whole, c->have);
    if (whole && !echo(c, chunk, whole))
        end(c);
}

static void writable(struct connection *c)
{
    ssize_t sent = send(c->fd, c->unsent, c->unsent_size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        end(c);
    } else if (sent >= 0 && (size_t)sent == c->unsent_size) {
        free(c->unsent);
        c->unsent = NULL;
        want(c, EPOLLIN);
        echoed(c);
    } else if (sent > 0) {
        c->unsent_size -= (size_t)sent;
        memmove(c->unsent, c->unsent + sent, c->unsent_size);
    }
}

static void accept_all(int listener)
{
    for (int i = 0; i < BACKLOG; i++) {
        int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct connection *c = calloc(1, sizeof *c);
        if (!c)
            die("epoll: calloc");
        c->fd = fd;
        arm(c, &waiting, TIMEOUT);
        if (keep_alive)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
            end(c);
    }
}

static void expire(struct link *list)
{
    while (list->after != list && ((struct connection *)list->after)->deadline <= now)
        end((struct connection *)list->after);
}

static long until_next(void)
{
    long next = now + TIMEOUT;
    if (waiting.after != &waiting)
        next = ((struct connection *)waiting.after)->deadline;
    if (lingering.after != &lingering && ((struct connection *)lingering.after)->deadline < next)
        next = ((struct connection *)lingering.after)->deadline;
    return next > now ? next - now : 0;
}

static void tick(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    now = t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int listen_on(int port)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, BACKLOG) < 0)
        die("epoll: listen");
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: epoll PORT keep-alive|one-record\n", stderr);
        return 2;
    }
    keep_alive = !strcmp(argv[2], "keep-alive");
    int listener = listen_on(atoi(argv[1]));
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN}, events[EVENTS];
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) < 0)
        die("epoll: epoll");
    for (tick();;) {
        int ready = epoll_wait(poller, events, EVENTS, (int)until_next());
        tick();
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c)
                accept_all(listener);
            else if (c->unsent)
                writable(c);
            else
                readable(c);
        }
        expire(&waiting);
        expire(&lingering);
    }
}
