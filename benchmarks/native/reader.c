/*
 * The least that a client can do: so many streams in a closed loop, timed. What others cost is a multiple of it. Linux only.
 *
 *     reader SECONDS PORT STREAMS REQUESTS < REQUEST        ends by itself after so many seconds, or with its parent
 *
 * Every stream has a connection to 127.0.0.1, which it keeps. It sends the request as it stands on stdin, reads the
 * answer to its end, and sends the next, until so many have been sent beyond the first of each stream. Answers are
 * HTTP/1.1 with a chunked body of server-sent events; one counts as a piece if it has content. Whoever answers
 * otherwise ends it with status 1 and a word on stderr.
 *
 * Then it prints one JSON object a line for every answer: whether it was the first of its stream, when it was asked for,
 * and when each piece had been read. Times are CLOCK_MONOTONIC in nanoseconds, taken just before the request is sent and
 * just after a read. The last line tells when the first connection was begun, the CPU in microseconds until then and
 * from then on, and the peak of its memory in KB.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "process.h"

enum { EVENTS = 512, LINE = 4096, REQUEST_SIZE = 64 << 10, READ = 64 << 10 };

/* A line that may come in several reads. */
struct line {
    size_t size;
    char text[LINE];
};

struct talk {
    int fd;
    enum { HEAD, SIZE, DATA, AFTER_DATA, TRAILER } part;
    bool first, chunked, content;
    size_t left; /* of a chunk */
    nanoseconds asked;
    nanoseconds *times;
    size_t count, times_room;
    struct line http, event;
};

static char request[REQUEST_SIZE];
static size_t request_size;
static char *lines;
static size_t lines_size, lines_room;
static long left;

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *form, ...) {
    va_list values;
    fputs("reader: ", stderr);
    va_start(values, form);
    vfprintf(stderr, form, values);
    va_end(values);
    fputc('\n', stderr);
    exit(1);
}

static void ask(struct talk *talk) {
    talk->part = HEAD;
    talk->chunked = talk->content = false;
    talk->count = 0;
    talk->asked = now();
    if (send(talk->fd, request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size)
        fail("the request was not taken: %s", strerror(errno));
}

static void note(const struct talk *talk) {
    lines = grown(lines, &lines_room, lines_size + 128 + talk->count * 24);
    char *to = lines + lines_size;
    to += sprintf(to, "{\"first\":%s,\"asked\":%lld,\"times\":[", talk->first ? "true" : "false", (long long)talk->asked);
    for (size_t i = 0; i < talk->count; i++) to += sprintf(to, "%s%lld", i ? "," : "", (long long)talk->times[i]);
    to += sprintf(to, "]}\n");
    lines_size = to - lines;
}

/* Takes bytes up to the end of a line, and returns whether it is here: without its end, and with a 0 behind it. */
static bool take_line(struct line *line, const char **at, const char *end) {
    const char *newline = memchr(*at, '\n', end - *at);
    size_t size = (newline ? newline + 1 : end) - *at;
    if (line->size + size >= LINE) fail("a line is longer than %d bytes", LINE);
    memcpy(line->text + line->size, *at, size);
    line->size += size;
    *at += size;
    if (!newline) return false;
    for (line->size--; line->size && line->text[line->size - 1] == '\r';) line->size--;
    line->text[line->size] = 0;
    line->size = 0;
    return true;
}

/* Whether a line of an event has content: a member of this name that is a string, and not an empty one. In a string its
   name would stand behind a backslash. */
static bool has_content(const char *line) {
    const char *name = strncmp(line, "data:", 5) ? NULL : strstr(line, "\"content\"");
    if (!name) return false;
    const char *value = name + 9 + strspn(name + 9, " :");
    return value[0] == '"' && value[1] != '"';
}

static void take_body(struct talk *talk, const char *at, const char *end, nanoseconds when) {
    while (at < end && take_line(&talk->event, &at, end)) {
        if (talk->event.text[0]) {
            talk->content |= has_content(talk->event.text);
        } else if (talk->content) {
            talk->times = grown(talk->times, &talk->times_room, sizeof *talk->times * (talk->count + 1));
            talk->times[talk->count++] = when;
            talk->content = false;
        }
    }
}

static void take_head_line(struct talk *talk, const char *line) {
    if (!strncmp(line, "HTTP/", 5)) {
        if (strncmp(line, "HTTP/1.1 200 ", 13)) fail("the service says %.60s", line);
    } else if (!strcasecmp(line, "transfer-encoding: chunked")) {
        talk->chunked = true;
    } else if (!line[0]) {
        if (!talk->chunked) fail("the body does not come in chunks");
        talk->part = SIZE;
    }
}

/* What one read has brought; returns whether the answer is over. */
static bool take(struct talk *talk, const char *at, const char *end, nanoseconds when) {
    while (at < end) {
        if (talk->part == DATA) {
            size_t here = (size_t)(end - at) < talk->left ? (size_t)(end - at) : talk->left;
            take_body(talk, at, at + here, when);
            at += here;
            if (!(talk->left -= here)) talk->part = AFTER_DATA;
            continue;
        }
        if (!take_line(&talk->http, &at, end)) return false;
        const char *line = talk->http.text;
        if (talk->part == HEAD) {
            take_head_line(talk, line);
        } else if (talk->part == SIZE) {
            char *rest;
            talk->left = strtoul(line, &rest, 16);
            if (rest == line) fail("no size of a chunk: %.60s", line);
            talk->part = talk->left ? DATA : TRAILER;
        } else if (talk->part == AFTER_DATA) {
            talk->part = SIZE;
        } else if (!line[0]) {
            if (at < end) fail("%zu bytes after the end of an answer", (size_t)(end - at));
            return true;
        }
    }
    return false;
}

/* Returns whether the stream is over. */
static bool receive(struct talk *talk) {
    static char data[READ];
    ssize_t n = recv(talk->fd, data, sizeof data, 0);
    nanoseconds when = now();
    if (n <= 0) fail("the service hung up: %s", n ? strerror(errno) : "before the end of an answer");
    if (!take(talk, data, data + n, when)) return false;
    note(talk);
    talk->first = false;
    if (!left) return true;
    left--;
    ask(talk);
    return false;
}

static struct talk *opened(const struct sockaddr_in *address) {
    struct talk *talk = calloc(1, sizeof *talk);
    if (!talk) exit(3);
    int on = 1;
    talk->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    talk->first = true;
    if (connect(talk->fd, (const void *)address, sizeof *address)) fail("cannot connect: %s", strerror(errno));
    setsockopt(talk->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return talk;
}

int main(int count, char **values) {
    if (count != 5) {
        fputs("usage: reader SECONDS PORT STREAMS REQUESTS < REQUEST\n", stderr);
        return 2;
    }
    begin(values[1]);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons(atoi(values[2]));
    int streams = atoi(values[3]), poller = epoll_create1(EPOLL_CLOEXEC);
    left = atol(values[4]);
    request_size = fread(request, 1, sizeof request, stdin);
    if (!request_size || request_size == sizeof request) fail("the request has %zu bytes", request_size);
    nanoseconds first_at = now();
    long long first_us = cpu_us();
    for (int i = 0; i < streams; i++) {
        struct talk *talk = opened(&address);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = talk};
        epoll_ctl(poller, EPOLL_CTL_ADD, talk->fd, &e);
        ask(talk);
    }
    for (struct epoll_event events[EVENTS]; streams;) {
        int n = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct talk *talk = events[i].data.ptr;
            if (!receive(talk)) continue;
            close(talk->fd);
            free(talk->times);
            free(talk);
            streams--;
        }
    }
    long long took_us = cpu_us() - first_us;
    fwrite(lines, 1, lines_size, stdout);
    printf("{\"first_at\":%lld,\"first_cpu_us\":%lld,\"cpu_us\":%lld,\"rss_kb\":%ld}\n", (long long)first_at, first_us, took_us,
           peak_kb());
    free(lines);
    return fflush(stdout) || ferror(stdout);
}
