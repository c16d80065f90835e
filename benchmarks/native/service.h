/*
 * What the services of this directory have in common: sockets on 127.0.0.1, turns in order of time, knobs. Linux only.
 *
 * One thread: an epoll, and a heap of due times behind one timerfd. What a service knows of a client begins with `struct
 * client`.
 */
#ifndef SERVICE_H
#define SERVICE_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "process.h"

enum { EVENTS = 512 };

struct client {
    int fd, place; /* its place in the heap, or -1 */
    nanoseconds due;
};

static int poller, timer, listener;
static struct client **heap;
static int waiting;
static size_t heap_room;

/* The heap: whose turn is next. */

static inline void place(struct client *client, int at) {
    heap[at] = client;
    client->place = at;
}

static inline void sift(int at) {
    struct client *client = heap[at];
    for (; at && heap[(at - 1) / 2]->due > client->due; at = (at - 1) / 2) place(heap[(at - 1) / 2], at);
    for (int child; (child = 2 * at + 1) < waiting; at = child) {
        if (child + 1 < waiting && heap[child + 1]->due < heap[child]->due) child++;
        if (heap[child]->due >= client->due) break;
        place(heap[child], at);
    }
    place(client, at);
}

static inline void schedule(struct client *client, nanoseconds due) {
    client->due = due;
    if (client->place < 0) {
        heap = grown(heap, &heap_room, sizeof *heap * (waiting + 1));
        place(client, waiting++);
    }
    sift(client->place);
}

static inline void unschedule(struct client *client) {
    int at = client->place;
    client->place = -1;
    if (at < 0 || at == --waiting) return;
    place(heap[waiting], at);
    sift(at);
}

static inline bool somebody_is_due(nanoseconds at) {
    return waiting && heap[0]->due <= at;
}

/* Milliseconds to wait: 0 if somebody is due, else the timer wakes us. */
static inline int until_next(void) {
    static nanoseconds set;
    nanoseconds due = waiting ? heap[0]->due : 0;
    if (due && due <= now()) return 0;
    if (due != set) {
        struct itimerspec when = {.it_value = {due / 1000000000, due % 1000000000}};
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
        set = due;
    }
    return -1;
}

static inline void timer_has_rung(void) {
    uint64_t times;
    while (read(timer, &times, sizeof times) > 0) {
    }
}

/* Sockets. */

static inline void watch(int fd, void *who) {
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = who};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
}

/* Listens on a port of 127.0.0.1, which it prints. The listener's and the timer's events come with their addresses. */
static inline void open_service(const char *name) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(listener, (void *)&address, size) || listen(listener, 4096)) {
        fprintf(stderr, "%s: cannot listen on 127.0.0.1: %s\n", name, strerror(errno));
        exit(1);
    }
    getsockname(listener, (void *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    watch(listener, &listener);
    watch(timer, &timer);
}

static inline void welcome(size_t size) {
    for (int fd, on = 1; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct client *client = calloc(1, size);
        if (!client) exit(3);
        client->fd = fd;
        client->place = -1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(fd, client);
    }
}

/* Runs for good. `size` is that of what is known of a client, which `happened` is told of with its epoll events;
   `take_turns` is called after each round of them, and whenever somebody is due. */
static inline void serve(size_t size, void (*happened)(void *, uint32_t), void (*take_turns)(void)) {
    for (struct epoll_event events[EVENTS];;) {
        int n = epoll_wait(poller, events, EVENTS, until_next());
        for (int i = 0; i < n; i++) {
            void *who = events[i].data.ptr;
            if (who == &listener) welcome(size);
            else if (who == &timer) timer_has_rung();
            else happened(who, events[i].events);
        }
        take_turns();
    }
}

/* Requests. */

/* How many bytes the body has whose head lies between these. */
static inline size_t body_size(char *head, char *end) {
    char kept = *end;
    *end = 0;
    char *length = strcasestr(head, "\r\ncontent-length:");
    *end = kept;
    return length ? strtoul(length + 17, NULL, 10) : 0;
}

/* A knob of those in `name=value&name=value`. */
static inline bool wished(const char *knobs, const char *name, char *value, size_t room) {
    size_t size = strlen(name);
    for (const char *at = knobs; at; at = strchr(at, '&')) {
        at += *at == '&';
        if (strncmp(at, name, size) || at[size] != '=') continue;
        size_t length = strspn(at + size + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");
        snprintf(value, room, "%.*s", (int)length, at + size + 1);
        return true;
    }
    return false;
}

static inline double number(const char *knobs, const char *name, double usual) {
    char value[32];
    return wished(knobs, name, value, sizeof value) ? atof(value) : usual;
}

#endif
