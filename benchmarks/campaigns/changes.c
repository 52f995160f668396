/* Counts what a program does to files below a folder, whatever it is written in, and kills it at a given change.

   gcc -shared -fPIC -O1 -o changes.so changes.c -ldl; loaded with LD_PRELOAD by kill.py, for Linux.
   A change: opening to write, writing, renaming, removing, making a folder, shortening. CHANGES_BELOW, CHANGES_AT and
   CHANGES_RANK arm it from the start, changes_arm() later. At a write, half of it is written before the kill. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char below[PATH_MAX];
static long at;
static atomic_long count;

void changes_arm(const char *folder, long number) {
    snprintf(below, sizeof below, "%s", folder);
    at = number;
    count = 0;
}

long changes_count(void) { return count; }

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("CHANGES_BELOW"), *number = getenv("CHANGES_AT");
    const char *asked = getenv("CHANGES_RANK"), *rank = getenv("RANK");
    if (folder && number && (!asked || (rank && !strcmp(asked, rank)))) changes_arm(folder, atol(number));
}

/* Of processes that are armed from the start: how many changes there were, in CHANGES_COUNT.RANK. */
__attribute__((destructor)) static void tell(void) {
    const char *folder = getenv("CHANGES_BELOW"), *told = getenv("CHANGES_COUNT"), *rank = getenv("RANK");
    char path[PATH_MAX];
    if (!folder || !told || !rank || !below[0]) return;
    below[0] = 0;
    snprintf(path, sizeof path, "%s.%s", told, rank);
    FILE *file = fopen(path, "w");
    if (file) {
        fprintf(file, "%ld", changes_count());
        fclose(file);
    }
}

static int is_below(const char *path) { return below[0] && !strncmp(path, below, strlen(below)); }

static int of_descriptor(int fd) {
    char link[64], path[PATH_MAX];
    if (!below[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

static int of_path(int fd, const char *path) {
    if (!below[0] || !path) return 0;
    if (path[0] == '/') return is_below(path);
    if (fd != AT_FDCWD) return of_descriptor(fd);
    char here[PATH_MAX];
    return getcwd(here, sizeof here) && is_below(here);
}

/* Whether this is the change to be killed at. */
static int is_it(int counts) { return counts && atomic_fetch_add(&count, 1) + 1 == at; }

static void end(int now) {
    if (now) kill(getpid(), SIGKILL);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRITES(flags) ((flags) & (O_WRONLY | O_RDWR))
#define MODE(flags, last) ({ va_list rest; va_start(rest, last); \
    int mode = (flags) & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0; va_end(rest); mode; })

int open(const char *path, int flags, ...) {
    int mode = MODE(flags, flags);
    end(is_it(WRITES(flags) && of_path(AT_FDCWD, path)));
    return REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    int mode = MODE(flags, flags);
    end(is_it(WRITES(flags) && of_path(AT_FDCWD, path)));
    return REAL(open64)(path, flags, mode);
}
int openat(int fd, const char *path, int flags, ...) {
    int mode = MODE(flags, flags);
    end(is_it(WRITES(flags) && of_path(fd, path)));
    return REAL(openat)(fd, path, flags, mode);
}
int openat64(int fd, const char *path, int flags, ...) {
    int mode = MODE(flags, flags);
    end(is_it(WRITES(flags) && of_path(fd, path)));
    return REAL(openat64)(fd, path, flags, mode);
}
FILE *fopen(const char *path, const char *mode) {
    end(is_it(strpbrk(mode, "wa+") && of_path(AT_FDCWD, path)));
    return REAL(fopen)(path, mode);
}
FILE *fopen64(const char *path, const char *mode) {
    end(is_it(strpbrk(mode, "wa+") && of_path(AT_FDCWD, path)));
    return REAL(fopen64)(path, mode);
}
ssize_t write(int fd, const void *content, size_t size) {
    int now = is_it(of_descriptor(fd));
    ssize_t written = REAL(write)(fd, content, now ? size / 2 : size);
    end(now);
    return written;
}
ssize_t pwrite64(int fd, const void *content, size_t size, off64_t where) {
    int now = is_it(of_descriptor(fd));
    ssize_t written = REAL(pwrite64)(fd, content, now ? size / 2 : size, where);
    end(now);
    return written;
}
ssize_t writev(int fd, const struct iovec *parts, int num) {
    int now = is_it(of_descriptor(fd));
    ssize_t written = REAL(writev)(fd, parts, now && num > 1 ? num / 2 : num);
    end(now);
    return written;
}
ssize_t sendfile64(int to, int from, off64_t *where, size_t size) {
    end(is_it(of_descriptor(to)));
    return ((ssize_t(*)(int, int, off64_t *, size_t))dlsym(RTLD_NEXT, "sendfile64"))(to, from, where, size);
}
int ftruncate64(int fd, off64_t size) {
    end(is_it(of_descriptor(fd)));
    return REAL(ftruncate64)(fd, size);
}
int rename(const char *from, const char *to) {
    end(is_it(of_path(AT_FDCWD, to)));
    return REAL(rename)(from, to);
}
int renameat(int from_fd, const char *from, int to_fd, const char *to) {
    end(is_it(of_path(to_fd, to)));
    return REAL(renameat)(from_fd, from, to_fd, to);
}
int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    end(is_it(of_path(to_fd, to)));
    return REAL(renameat2)(from_fd, from, to_fd, to, flags);
}
int unlink(const char *path) {
    end(is_it(of_path(AT_FDCWD, path)));
    return REAL(unlink)(path);
}
int unlinkat(int fd, const char *path, int flags) {
    end(is_it(of_path(fd, path)));
    return REAL(unlinkat)(fd, path, flags);
}
int rmdir(const char *path) {
    end(is_it(of_path(AT_FDCWD, path)));
    return REAL(rmdir)(path);
}
int mkdir(const char *path, mode_t mode) {
    end(is_it(of_path(AT_FDCWD, path)));
    return REAL(mkdir)(path, mode);
}
int mkdirat(int fd, const char *path, mode_t mode) {
    end(is_it(of_path(fd, path)));
    return REAL(mkdirat)(fd, path, mode);
}
