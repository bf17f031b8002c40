/* A drive that fails: loaded by LD_PRELOAD, it lets the n-th call on files of one folder fail. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { READS = 1, WRITES = 2, OPENS = 4, SYNCS = 8 };

static char folder[PATH_MAX];
static long first = -1, seen = 0;
static int code = EIO, lasting = 0, kinds = 0;

/* Calls of these kinds below a folder are counted; from the n-th on (or it alone) they fail. */
void fault_arm(const char *where, long n, int error, int for_ever, int which) {
    snprintf(folder, sizeof folder, "%s", where);
    first = n, code = error, lasting = for_ever, kinds = which, seen = 0;
}

long fault_seen(void) { return seen; }

static int fails(const char *path, int kind) {
    if (!(kinds & kind) || !folder[0] || !strstr(path, folder)) return 0;
    long now = seen++;
    if (first < 0 || now < first || (!lasting && now > first)) return 0;
    errno = code;
    return 1;
}

static int fails_at(int fd, int kind) {
    if (!(kinds & kind)) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return fails(path, kind);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define ON_FD(type, name, kind, given, used)                  \
    type name given {                                         \
        return fails_at(fd, kind) ? (type)-1 : REAL(name) used; \
    }

ON_FD(ssize_t, read, READS, (int fd, void *data, size_t size), (fd, data, size))
ON_FD(ssize_t, pread, READS, (int fd, void *data, size_t size, off_t at), (fd, data, size, at))
ON_FD(ssize_t, pread64, READS, (int fd, void *data, size_t size, off64_t at), (fd, data, size, at))
ON_FD(ssize_t, write, WRITES, (int fd, const void *data, size_t size), (fd, data, size))
ON_FD(ssize_t, pwrite, WRITES, (int fd, const void *data, size_t size, off_t at),
      (fd, data, size, at))
ON_FD(ssize_t, pwrite64, WRITES, (int fd, const void *data, size_t size, off64_t at),
      (fd, data, size, at))
ON_FD(int, ftruncate, WRITES, (int fd, off_t size), (fd, size))
ON_FD(int, ftruncate64, WRITES, (int fd, off64_t size), (fd, size))
ON_FD(int, fsync, SYNCS, (int fd), (fd))
ON_FD(int, fdatasync, SYNCS, (int fd), (fd))

int unlink(const char *path) { return fails(path, WRITES) ? -1 : REAL(unlink)(path); }

#define ON_OPEN(name)                                             \
    int name(const char *path, int flags, ...) {                  \
        mode_t mode = 0;                                          \
        if (flags & (O_CREAT | O_TMPFILE)) {                      \
            va_list rest;                                         \
            va_start(rest, flags);                                \
            mode = va_arg(rest, mode_t);                          \
            va_end(rest);                                         \
        }                                                         \
        return fails(path, OPENS) ? -1 : REAL(name)(path, flags, mode); \
    }

ON_OPEN(open)
ON_OPEN(open64)

FILE *fopen64(const char *path, const char *mode) {
    return fails(path, OPENS) ? NULL : REAL(fopen64)(path, mode);
}

size_t fread(void *data, size_t size, size_t count, FILE *file) {
    return fails_at(fileno(file), READS) ? 0 : REAL(fread)(data, size, count, file);
}
