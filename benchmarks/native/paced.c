/*
 * A load server that streams OpenAI-style server-sent events at a steady pace. Linux only.
 *
 *     paced SECONDS            ends by itself after so many seconds, or with its parent
 *
 * It listens on 127.0.0.1, on a port that it prints. One thread: epoll, and a heap of due times behind one timerfd.
 * What a stream shall be like stands in the first segment of the path, so that it can be part of a base URL:
 *
 *     POST /every=5&chunks=100/v1/chat/completions
 *
 *     every=MS     milliseconds between chunks, may be fractional; 0: all at once, as fast as the socket takes them  20
 *     chunks=N     chunks of content                                                                                  50
 *     after=MS     milliseconds before the first one, on top of `every` and the phase                                  0
 *     phase=0      without it each stream has an offset of its own within `every`
 *     write=BYTES  bytes a write while all at once, 256 KiB at most                                                32768
 *     tag=NAME     its name in /stats: letters, digits, "-", "." and "_"
 *     winner=1     when its last bytes are sent, the mark is set; /stats says what the others were sent after it
 *     whole=1      no stream: one JSON document, after `after`
 *     status=NNN   an error of this status, as JSON
 *     cut=N        the connection is closed after N chunks
 *     stall=N      nothing comes after N chunks
 *
 * A late chunk delays those that follow: `every` always lies between the writes, nothing is caught up.
 *
 * GET /stats gives one JSON object a line for every request that is over. Times are CLOCK_MONOTONIC in nanoseconds, 0
 * where there was none; `end` is done, closed or reset (by the client), or cut. The last line has the mark, and the CPU
 * of the server itself. GET /reset forgets all that.
 */
#define _GNU_SOURCE
#include <stdarg.h>

#include "service.h"

enum { REQUEST_SIZE = 16 << 10, WRITE_SIZE = 256 << 10 };

#define MESSAGE_START "data: {\"id\":\"chatcmpl-00000000\",\"object\":\"chat.completion.chunk\",\"created\":1790000000," \
                      "\"model\":\"paced\",\"system_fingerprint\":\"fp_5d3a90c7e1b246f8\",\"choices\":["

static const char CONTENT[] = MESSAGE_START
    "{\"index\":0,\"delta\":{\"content\":\" w000000\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";
static const char STOP[] = MESSAGE_START "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n";
static const char USAGE[] = MESSAGE_START "],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n";
static const char DONE[] = "data: [DONE]\n\n";

static char chunk[512]; /* CONTENT as one chunk of HTTP's */
static int chunk_size, id_at, word_at;

struct wish {
    nanoseconds every, after;
    int chunks, write, status, cut, stall;
    bool phase, winner, whole;
    char tag[32];
};

struct connection {
    struct client client;
    bool asked, answering, last, listening_for_room;
    unsigned id;
    struct wish wish;
    size_t in_size, body_left;
    nanoseconds asked_at, first_at, last_at;
    int sent, late;
    long bytes, late_bytes;
    char *out;
    size_t out_size, out_sent, out_room;
    char path[512], in[REQUEST_SIZE + 1];
};

static unsigned requests;
static nanoseconds mark;
static char *stats;
static size_t stats_size, stats_room;

/* What is told of requests that are over. */

static void note(struct connection *c, const char *end) {
    stats = grown(stats, &stats_room, stats_size + 512);
    stats_size += sprintf(stats + stats_size,
        "{\"tag\":\"%s\",\"id\":%u,\"end\":\"%s\",\"winner\":%s,\"asked\":%lld,\"first\":%lld,\"last\":%lld,\"over\":%lld,"
        "\"chunks\":%d,\"bytes\":%ld,\"late_chunks\":%d,\"late_bytes\":%ld}\n",
        c->wish.tag, c->id, end, c->wish.winner ? "true" : "false", (long long)c->asked_at, (long long)c->first_at,
        (long long)c->last_at, (long long)now(), c->sent, c->bytes, c->late, c->late_bytes);
}

static void leave(struct connection *c, const char *why) {
    if (c->answering) note(c, why);
    unschedule(&c->client);
    close(c->client.fd);
    free(c->out);
    free(c);
}

/* Sending. These return false when the connection is gone. */

static void listen_for(struct connection *c, bool room) {
    struct epoll_event e = {.events = EPOLLIN | (room ? EPOLLOUT : 0), .data.ptr = c};
    if (c->listening_for_room != room) epoll_ctl(poller, EPOLL_CTL_MOD, c->client.fd, &e);
    c->listening_for_room = room;
}

static bool push(struct connection *c) {
    while (c->out_sent < c->out_size) {
        nanoseconds at = now();
        ssize_t n = send(c->client.fd, c->out + c->out_sent, c->out_size - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) {
            leave(c, "reset");
            return false;
        }
        if (n < 0) break;
        c->out_sent += n;
        c->bytes += n;
        if (mark && at > mark) c->late_bytes += n;
        /* Taken before the send: who reads the last bytes cannot be earlier. */
        if (c->last && c->wish.winner && !mark && c->out_sent == c->out_size) mark = at;
    }
    if (c->out_sent == c->out_size) c->out_sent = c->out_size = 0;
    listen_for(c, c->out_size > 0);
    return true;
}

static char *room(struct connection *c, size_t size) {
    c->out = grown(c->out, &c->out_room, c->out_size + size);
    c->out_size += size;
    return c->out + c->out_size - size;
}

static void append(struct connection *c, const char *form, ...) {
    char text[2048];
    va_list values;
    va_start(values, form);
    int size = vsnprintf(text, sizeof text, form, values);
    va_end(values);
    memcpy(room(c, size), text, size);
}

static void digits(char *at, int width, unsigned value) {
    for (; width--; value /= 10) at[width] = '0' + value % 10;
}

static void append_content(struct connection *c) {
    char *to = memcpy(room(c, chunk_size), chunk, chunk_size);
    digits(to + id_at, 8, c->id);
    digits(to + word_at, 6, c->sent++);
}

static void append_tail(struct connection *c) {
    char usage[512];
    int size = snprintf(usage, sizeof usage, USAGE, c->wish.chunks, c->wish.chunks + 8);
    append(c, "%zx\r\n%s\r\n%x\r\n%s\r\n", sizeof STOP - 1, STOP, size, usage);
    append(c, "%zx\r\n%s\r\n0\r\n\r\n", sizeof DONE - 1, DONE);
}

static void append_document(struct connection *c, const char *status, const char *text) {
    append(c, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(text), text);
}

static void append_whole(struct connection *c) {
    char text[1024];
    snprintf(text, sizeof text,
        "{\"id\":\"chatcmpl-%08u\",\"object\":\"chat.completion\",\"created\":1790000000,\"model\":\"paced\",\"choices\":"
        "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"whole %s\"},\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":2,\"total_tokens\":10}}", c->id, c->wish.tag);
    append_document(c, "200 OK", text);
}

/* One turn of an answer. */

static bool finished(struct connection *c) {
    if (!c->last || c->out_size) return false;
    note(c, "done");
    c->asked = c->answering = c->last = false;
    return true;
}

static void take_turn(struct connection *c) {
    struct wish *w = &c->wish;
    bool burst = !w->every;
    if (w->stall && c->sent >= w->stall) {
        unschedule(&c->client);
        return;
    }
    if (w->cut && c->sent >= w->cut) {
        leave(c, "cut");
        return;
    }
    int limit = w->cut ? w->cut : w->stall ? w->stall : w->chunks, before = c->sent;
    if (w->whole) {
        append_whole(c);
    } else if (burst) {
        while (c->sent < limit && c->out_size < (size_t)w->write) append_content(c);
    } else if (c->sent < limit) {
        append_content(c);
    } else {
        append_tail(c);
    }
    c->last = w->whole || (c->sent >= w->chunks && (burst || before == c->sent));
    if (burst && c->last && !w->whole) append_tail(c);
    c->last_at = now();
    if (!c->first_at) c->first_at = c->last_at;
    if (mark && c->last_at > mark) c->late += c->sent - before;
    if (!push(c)) return;
    if (c->last || c->out_size) {
        unschedule(&c->client);
        finished(c);
    } else {
        schedule(&c->client, now() + w->every);
    }
}

/* Requests. */

static void read_wish(struct wish *w, const char *knobs) {
    memset(w, 0, sizeof *w);
    w->every = number(knobs, "every", 20) * 1e6;
    w->after = number(knobs, "after", 0) * 1e6;
    w->chunks = number(knobs, "chunks", 50);
    w->phase = number(knobs, "phase", 1);
    w->write = number(knobs, "write", 32768);
    if (w->write > WRITE_SIZE) w->write = WRITE_SIZE;
    w->winner = number(knobs, "winner", 0);
    w->whole = number(knobs, "whole", 0);
    w->status = number(knobs, "status", 200);
    w->cut = number(knobs, "cut", 0);
    w->stall = number(knobs, "stall", 0);
    wished(knobs, "tag", w->tag, sizeof w->tag);
}

static void append_stats(struct connection *c) {
    char tail[128];
    int size = snprintf(tail, sizeof tail, "{\"mark\":%lld,\"cpu_us\":%lld}\n", (long long)mark, cpu_us());
    append(c, "HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nContent-Length: %zu\r\n\r\n", stats_size + size);
    if (stats_size) memcpy(room(c, stats_size), stats, stats_size);
    memcpy(room(c, size), tail, size);
}

/* The request is here as a whole. */
static bool answer(struct connection *c, const char *path) {
    if (!strncmp(path, "/stats ", 7) || !strncmp(path, "/reset ", 7)) {
        if (path[1] == 's') {
            append_stats(c);
        } else {
            stats_size = mark = 0;
            append_document(c, "200 OK", "{}");
        }
        c->asked = false;
        return push(c);
    }
    char knobs[512];
    snprintf(knobs, sizeof knobs, "%.*s", (int)strcspn(path + 1, "/? "), path + 1);
    read_wish(&c->wish, knobs);
    c->answering = true;
    c->id = ++requests;
    c->asked_at = now();
    c->first_at = c->last_at = c->sent = c->late = c->bytes = c->late_bytes = 0;
    if (c->wish.status != 200) {
        char status[32];
        snprintf(status, sizeof status, "%d As Asked", c->wish.status);
        append_document(c, status, "{\"error\":{\"message\":\"as asked for\",\"type\":\"server_error\"}}");
        c->last = true;
        if (!push(c)) return false;
        finished(c);
        return true;
    }
    if (!c->wish.whole)
        append(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
                  "x-request-id: req-%u\r\nTransfer-Encoding: chunked\r\n\r\n", c->id);
    /* Multiples of the golden ratio lie evenly in [0, 1), however many there are. */
    double turn = c->wish.phase ? c->id * 0.6180339887498949 : 0;
    nanoseconds offset = (turn - (long)turn) * c->wish.every;
    schedule(&c->client, c->asked_at + c->wish.after + (c->wish.whole ? 0 : c->wish.every + offset));
    return push(c);
}

static void drop(struct connection *c, size_t size) {
    memmove(c->in, c->in + size, c->in_size -= size);
    c->in[c->in_size] = 0;
}

/* Takes the head of a request, if it has come whole. */
static bool take_head(struct connection *c) {
    char *end = strstr(c->in, "\r\n\r\n"), *at = strchr(c->in, ' ');
    if (!end && c->in_size < REQUEST_SIZE) return false;
    if (!end || !at || at > end) {
        leave(c, "closed");
        return false;
    }
    c->body_left = body_size(c->in, end);
    snprintf(c->path, sizeof c->path, "%.*s ", (int)strcspn(at + 1, " "), at + 1);
    drop(c, end + 4 - c->in);
    return c->asked = true;
}

static void take(struct connection *c) {
    while (!c->answering && (c->asked || take_head(c))) {
        size_t body = c->in_size < c->body_left ? c->in_size : c->body_left;
        drop(c, body);
        c->body_left -= body;
        if (c->body_left || !answer(c, c->path)) return;
    }
}

static void receive(struct connection *c) {
    ssize_t n = recv(c->client.fd, c->in + c->in_size, REQUEST_SIZE - c->in_size, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        leave(c, n ? "reset" : "closed");
    } else if (n > 0) {
        c->in_size += n;
        c->in[c->in_size] = 0;
        take(c);
    }
}

static void go_on(struct connection *c) {
    if (!push(c) || c->out_size || !c->answering) return;
    if (c->last) {
        finished(c);
        take(c);
    } else if (c->client.place < 0 && !(c->wish.stall && c->sent >= c->wish.stall)) {
        schedule(&c->client, now() + c->wish.every);
    }
}

static void prepare_chunk(void) {
    chunk_size = sprintf(chunk, "%zx\r\n%s\r\n", sizeof CONTENT - 1, CONTENT);
    id_at = strstr(chunk, "00000000\"") - chunk;
    word_at = strstr(chunk, " w000000") - chunk + 2;
}

static void happen(void *who, uint32_t events) {
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(who);
    else go_on(who);
}

static void take_turns(void) {
    for (nanoseconds at = now(); somebody_is_due(at);) take_turn((struct connection *)heap[0]);
}

int main(int count, char **values) {
    if (count != 2) {
        fputs("usage: paced SECONDS\n", stderr);
        return 2;
    }
    begin(values[1]);
    prepare_chunk();
    open_service("paced");
    serve(sizeof(struct connection), happen, take_turns);
}
