// A disk that becomes full, for a process that is started with LD_PRELOAD.
//
// From the FULL_DISK_AT-th call of FULL_DISK_CALL on (of any call if it is
// empty; 0: never), whatever would take room below FULL_DISK_FOLDER fails with
// ENOSPC. FULL_DISK_LOG gets a line for each such call: its name and its path,
// as FULL_DISK_CALL has them. The environment is read at every call, so that a
// process may set it late.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static long calls;
static int is_full;

// Whether a call that needs room must fail; counts and logs it.
static int full(const char *call, const char *path) {
  const char *folder = getenv("FULL_DISK_FOLDER");
  if (!folder || !path || strncmp(path, folder, strlen(folder))) return 0;
  char line[PATH_MAX + 64];
  int size = snprintf(line, sizeof line, "%s %s\n", call, path);
  const char *log = getenv("FULL_DISK_LOG");
  if (log) {
    int file = syscall(SYS_openat, AT_FDCWD, log,
                       O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (file >= 0) {
      syscall(SYS_write, file, line, size);
      syscall(SYS_close, file);
    }
  }
  const char *at = getenv("FULL_DISK_AT");
  const char *wanted = getenv("FULL_DISK_CALL");
  line[size - 1] = 0;
  if (!wanted || !*wanted || !strcmp(line, wanted)) {
    long number = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (at && atol(at) && number >= atol(at)) is_full = 1;
  }
  if (is_full) errno = ENOSPC;
  return is_full;
}

static int full_file(const char *call, int file) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return full(call, path);
}

// A new file needs room in its folder; one that is there does not.
static int full_open(const char *path, int flags) {
  struct stat found;
  return (flags & O_CREAT) && stat(path, &found) && full("open", path);
}

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    REAL(name); \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    return full_open(path, flags) ? -1 : real(path, flags, mode); \
  }
#define OPEN_AT(name) \
  int name(int folder, const char *path, int flags, ...) { \
    REAL(name); \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    return full_open(path, flags) ? -1 : real(folder, path, flags, mode); \
  }
#define ON_FILE(type, name, parameters, arguments) \
  type name parameters { \
    REAL(name); \
    return full_file(#name, file) ? -1 : real arguments; \
  }
#define ON_PATH(name, parameters, arguments) \
  int name parameters { \
    REAL(name); \
    return full(#name, path) ? -1 : real arguments; \
  }

OPEN(open)
OPEN(open64)
OPEN_AT(openat)
OPEN_AT(openat64)
ON_FILE(ssize_t, write, (int file, const void *data, size_t size),
        (file, data, size))
ON_FILE(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at),
        (file, data, size, at))
ON_FILE(ssize_t, pwrite64,
        (int file, const void *data, size_t size, off64_t at),
        (file, data, size, at))
ON_FILE(ssize_t, writev, (int file, const struct iovec *data, int count),
        (file, data, count))
ON_FILE(ssize_t, pwritev,
        (int file, const struct iovec *data, int count, off_t at),
        (file, data, count, at))
ON_FILE(ssize_t, pwritev64,
        (int file, const struct iovec *data, int count, off64_t at),
        (file, data, count, at))
ON_FILE(int, fsync, (int file), (file))
ON_FILE(int, fdatasync, (int file), (file))
ON_PATH(rename, (const char *from, const char *path), (from, path))
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode))
