/* What the programs of this directory have in common: the clock, how they live and end, and what they cost. Linux only. */
#ifndef PROCESS_H
#define PROCESS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

typedef int64_t nanoseconds;

/* CLOCK_MONOTONIC. */
static inline nanoseconds now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static inline long long cpu_us(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000LL + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
}

/* The most memory that there was; getrusage would tell that of the process which started this one, if it had more. */
static inline long peak_kb(void) {
    char line[128];
    long kb = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status) && sscanf(line, "VmHWM: %ld", &kb) != 1) {
    }
    if (status) fclose(status);
    return kb;
}

/* The memory, with room for `needed` bytes. */
static inline void *grown(void *memory, size_t *room, size_t needed) {
    if (needed <= *room) return memory;
    *room = needed * 2;
    if (!(memory = realloc(memory, *room))) exit(3);
    return memory;
}

/* Ends with its parent, or by itself after so many seconds; may have as many files open as the system allows. */
static inline void begin(const char *seconds) {
    pid_t parent = getppid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) exit(2); /* it ended before it could be watched */
    alarm(atoi(seconds));
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

#endif
