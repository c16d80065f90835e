/*
 * A service that keeps to a schedule and knows when it sent what: the judge of a benchmark's clocks. Linux only.
 *
 *     truth SECONDS            ends by itself after so many seconds, or with its parent
 *
 * It is what fanout/bench/truth.py is, without its traps and faster: it answers Chat Completions on 127.0.0.1, on a port
 * that it prints, one piece of content a token. Piece n is due at a time that was fixed when the request came, so a late
 * one does not delay the next. With the right to it, it runs at real-time priority. What an answer is like stands in the
 * first segment of the path:
 *
 *     POST /ttft=200&gap=20&jit=0.3&tokens=64/v1/chat/completions
 *
 *     ttft=MS      milliseconds from the request to the first token         200
 *     gap=MS       between tokens                                            20
 *     jit=SHARE    each gap varies by so large a share to both sides          0
 *     tokens=N     of an answer, at most 4096                                64
 *     seed=N       of the gaps                                                1
 *
 * GET /take gives one JSON object a line for every answer that is over, and forgets it: its number, when it was asked
 * for, the number of each token and when it was sent, when and how it was over (done, gone, blocked). Times are
 * CLOCK_MONOTONIC in nanoseconds, taken just before the send. GET /state gives what tells whether to believe it: how
 * late pieces were sent on average and at most, how many answers were cut off because their client did not read, whether
 * the priority is a real-time one, and the CPU used; and forgets the first three.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sched.h>

#include "service.h"

enum { REQUEST_SIZE = 64 << 10, MOST_TOKENS = 4096 };

#define FORM "data: {\"id\":\"chatcmpl-%08u\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"truth\",\"choices\":["

static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                           "Transfer-Encoding: chunked\r\n\r\n";
static const char *const WORDS[] = {" the", " of", " and", " to", " in", " that", " was", " his", " it", " with"};

struct connection {
    struct client client;
    int tokens, sent;
    bool answering;
    unsigned number;
    uint64_t random;
    double gap, jit;
    nanoseconds asked, at[MOST_TOKENS];
    size_t in_size;
    char in[REQUEST_SIZE + 1];
};

static int blocked;
static unsigned numbers;
static char *lines;
static size_t lines_size, lines_room;
static nanoseconds late_sum, late_most;
static long late_count;
static bool realtime;

/* A number in [0, 1), by Marsaglia's xorshift. */
static double uniform(struct connection *c) {
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return (double)(c->random >> 11) / (double)(1ULL << 53);
}

static void note(struct connection *c, const char *how) {
    lines = grown(lines, &lines_room, lines_size + 256 + (size_t)c->sent * 32);
    char *to = lines + lines_size;
    to += sprintf(to, "{\"number\":%u,\"asked\":%lld,\"pieces\":[", c->number, (long long)c->asked);
    for (int i = 0; i < c->sent; i++) to += sprintf(to, "%s[%d,%lld]", i ? "," : "", i, (long long)c->at[i]);
    to += sprintf(to, "],\"over\":%lld,\"how\":\"%s\",\"tokens\":%d}\n", (long long)now(), how, c->tokens);
    lines_size = to - lines;
    c->answering = false;
}

static void leave(struct connection *c, const char *how) {
    if (c->answering) note(c, how);
    unschedule(&c->client);
    close(c->client.fd);
    free(c);
}

static bool give(struct connection *c, const char *data, size_t size) {
    ssize_t n = send(c->client.fd, data, size, MSG_NOSIGNAL);
    if (n == (ssize_t)size) return true;
    if (n >= 0 || errno == EAGAIN) blocked++;
    leave(c, n < 0 && errno != EAGAIN ? "gone" : "blocked");
    return false;
}

static int framed(char *to, const char *text) {
    return sprintf(to, "%zx\r\n%s\r\n", strlen(text), text);
}

static int end_of(struct connection *c, char *to) {
    char text[512], *start = to;
    sprintf(text, FORM "{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\n", c->number);
    to += framed(to, text);
    sprintf(text, FORM "],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n", c->number,
            c->tokens, c->tokens + 8);
    to += framed(to, text);
    to += framed(to, "data: [DONE]\n\n");
    return to + sprintf(to, "0\r\n\r\n") - start;
}

/* The piece that is due. The end comes right after the last one. */
static void take_turn(struct connection *c) {
    char text[512], data[2048];
    sprintf(text, FORM "{\"index\":0,\"delta\":{\"content\":\"%s\"},\"finish_reason\":null}]}\n\n", c->number,
            WORDS[c->sent % 10]);
    int size = framed(data, text);
    nanoseconds at = c->at[c->sent++] = now(), late = at - c->client.due;
    late_sum += late;
    late_count++;
    if (late > late_most) late_most = late;
    if (c->sent == c->tokens) {
        unschedule(&c->client);
        ssize_t n = send(c->client.fd, data, size, MSG_NOSIGNAL);
        note(c, n == size ? "done" : n < 0 && errno != EAGAIN ? "gone" : "blocked");
        if (n == size) give(c, data, end_of(c, data));
        else leave(c, "");
        return;
    }
    schedule(&c->client, c->client.due + (nanoseconds)(c->gap * (1 + c->jit * (2 * uniform(c) - 1))));
    give(c, data, size);
}

static void reply(struct connection *c, const char *text, size_t size) {
    char head[128];
    int head_size = sprintf(head, "HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nContent-Length: %zu\r\n\r\n", size);
    if (!give(c, head, head_size)) return;
    for (size_t sent = 0; sent < size;) {
        ssize_t n = send(c->client.fd, text + sent, size - sent, MSG_NOSIGNAL);
        struct pollfd room = {.fd = c->client.fd, .events = POLLOUT};
        if (n > 0) sent += n;
        else if (errno != EAGAIN || poll(&room, 1, 10000) < 1) return;
    }
}

static void tell_state(struct connection *c) {
    char text[256];
    int size = sprintf(text, "{\"late_mean_us\":%.1f,\"late_most_us\":%.1f,\"blocked\":%d,\"realtime\":%s,\"cpu_us\":%lld}\n",
                       late_count ? late_sum / 1e3 / late_count : 0.0, late_most / 1e3, blocked, realtime ? "true" : "false", cpu_us());
    reply(c, text, size);
    late_sum = late_most = late_count = blocked = 0;
}

static void answer(struct connection *c, const char *path) {
    if (!strncmp(path, "/take", 5)) {
        reply(c, lines, lines_size);
        lines_size = 0;
        return;
    }
    if (!strncmp(path, "/state", 6)) {
        tell_state(c);
        return;
    }
    const char *knobs = path + 1;
    c->asked = now();
    c->number = numbers++;
    c->tokens = number(knobs, "tokens", 64);
    if (c->tokens < 1 || c->tokens > MOST_TOKENS) c->tokens = 64;
    c->gap = number(knobs, "gap", 20) * 1e6;
    c->jit = number(knobs, "jit", 0);
    c->random = ((uint64_t)number(knobs, "seed", 1) << 32 | c->number) * 0x9e3779b97f4a7c15ULL | 1;
    for (int i = 0; i < 8; i++) uniform(c);
    c->sent = 0;
    c->answering = true;
    schedule(&c->client, c->asked + (nanoseconds)(number(knobs, "ttft", 200) * 1e6));
    give(c, HEAD, sizeof HEAD - 1);
}

/* Answers the request that has come whole, if one has. */
static void take(struct connection *c) {
    char *end = strstr(c->in, "\r\n\r\n"), *path = strchr(c->in, ' ');
    if (c->answering || !end || !path) return;
    size_t whole = end + 4 - c->in + body_size(c->in, end);
    if (c->in_size < whole) return;
    char copy[512];
    snprintf(copy, sizeof copy, "%.*s", (int)strcspn(path + 1, " \r\n"), path + 1);
    memmove(c->in, c->in + whole, c->in_size -= whole);
    c->in[c->in_size] = 0;
    answer(c, copy);
}

static void receive(void *who, uint32_t events) {
    struct connection *c = who;
    (void)events;
    ssize_t n = recv(c->client.fd, c->in + c->in_size, REQUEST_SIZE - c->in_size, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        leave(c, "gone");
    } else if (n > 0) {
        c->in_size += n;
        c->in[c->in_size] = 0;
        take(c);
    }
}

static void take_turns(void) {
    while (somebody_is_due(now())) take_turn((struct connection *)heap[0]);
}

int main(int count, char **values) {
    if (count != 2) {
        fputs("usage: truth SECONDS\n", stderr);
        return 2;
    }
    begin(values[1]);
    struct sched_param priority = {.sched_priority = 10};
    realtime = !sched_setscheduler(0, SCHED_FIFO, &priority);
    open_service("truth");
    serve(sizeof(struct connection), receive, take_turns);
}
