/*
 * Counts the reads of a process that brought bytes from a TCP socket; to be preloaded (LD_PRELOAD). Linux only.
 *
 * So the reads of every client are counted in one way, whether Python, libcurl or libuv makes them. The count is
 * `socket_reads()`, which Python calls through ctypes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FILES = 1 << 16 };

static atomic_long reads;
static atomic_bool is_socket[FILES];

static int (*next_connect)(int, const struct sockaddr *, socklen_t);
static int (*next_close)(int);
static ssize_t (*next_recv)(int, void *, size_t, int);
static ssize_t (*next_recvfrom)(int, void *, size_t, int, struct sockaddr *, socklen_t *);
static ssize_t (*next_recvmsg)(int, struct msghdr *, int);
static ssize_t (*next_read)(int, void *, size_t);
static ssize_t (*next_readv)(int, const struct iovec *, int);

/* Looked up when first called: other libraries may read before a constructor of ours would have run. */
#define FIND(name) ((__typeof__(next_##name))find((void **)&next_##name, #name))

static void *find(void **known, const char *name) {
    if (!*known) *known = dlsym(RTLD_NEXT, name);
    return *known;
}

static ssize_t counted(int fd, ssize_t size) {
    if (size > 0 && fd < FILES && atomic_load_explicit(&is_socket[fd], memory_order_relaxed))
        atomic_fetch_add_explicit(&reads, 1, memory_order_relaxed);
    return size;
}

long socket_reads(void) { return reads; }

int connect(int fd, const struct sockaddr *address, socklen_t size) {
    if (fd >= 0 && fd < FILES) is_socket[fd] = address->sa_family == AF_INET;
    return FIND(connect)(fd, address, size);
}

int close(int fd) {
    if (fd >= 0 && fd < FILES) is_socket[fd] = 0;
    return FIND(close)(fd);
}

ssize_t recv(int fd, void *to, size_t size, int flags) { return counted(fd, FIND(recv)(fd, to, size, flags)); }

ssize_t recvfrom(int fd, void *restrict to, size_t size, int flags, struct sockaddr *restrict from, socklen_t *restrict n) {
    return counted(fd, FIND(recvfrom)(fd, to, size, flags, from, n));
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) { return counted(fd, FIND(recvmsg)(fd, message, flags)); }

ssize_t read(int fd, void *to, size_t size) { return counted(fd, FIND(read)(fd, to, size)); }

ssize_t readv(int fd, const struct iovec *to, int count) { return counted(fd, FIND(readv)(fd, to, count)); }

/* What a compiler makes of the same calls under _FORTIFY_SOURCE. */
ssize_t __recv_chk(int fd, void *to, size_t size, size_t room, int flags) {
    (void)room;
    return recv(fd, to, size, flags);
}

ssize_t __read_chk(int fd, void *to, size_t size, size_t room) {
    (void)room;
    return read(fd, to, size);
}
