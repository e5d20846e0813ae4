/* Makes calls on files fail, in a process started with LD_PRELOAD.

   What fails is said by a file that TURNSTORE_FAULTS names. It is mapped into memory, so
   that another process, or this one, changes it while the calls are made. ``faults.py``
   compiles this and writes the file. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { READ, WRITE, SYNC, TRUNCATE, OPERATIONS };
enum { KILLED = -2 };

struct plan {
    int64_t calls[OPERATIONS]; /* counted since the plan was made, on files that match */
    int64_t failed;            /* how many calls have failed */
    int64_t at;                /* the call that fails, from 1 */
    int32_t operation;         /* OPERATIONS: none */
    int32_t what;              /* errno; 0: half of it; -1: nothing, no error; -2: killed */
    int32_t for_ever;          /* calls after that fail too */
    char ending[508];          /* of the path of the files */
};

static struct plan *plan;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("TURNSTORE_FAULTS");
    int handle = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (handle < 0) return;
    void *mapped = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, handle, 0);
    close(handle);
    if (mapped != MAP_FAILED) plan = mapped;
}

static int matches(int handle) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t size = readlink(link, path, sizeof path - 1);
    size_t wanted = strlen(plan->ending);
    if (size < 0 || path[0] != '/' || (size_t)size < wanted) return 0;
    path[size] = 0;
    return memcmp(path + size - wanted, plan->ending, wanted) == 0;
}

/* Tell whether this call fails; the plan says with what. */
static int fails(int operation, int handle) {
    if (plan == NULL || plan->ending[0] == 0) return 0;
    int kept = errno;
    int found = matches(handle);
    errno = kept;
    if (!found) return 0;
    int64_t call = __atomic_add_fetch(&plan->calls[operation], 1, __ATOMIC_SEQ_CST);
    if (plan->operation != operation || call < plan->at) return 0;
    if (call > plan->at && !plan->for_ever) return 0;
    __atomic_add_fetch(&plan->failed, 1, __ATOMIC_SEQ_CST);
    if (plan->what == KILLED) raise(SIGKILL);
    return 1;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (real == NULL) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define FAIL_OR(call) \
    if (plan->what > 0) { errno = plan->what; return -1; } \
    if (plan->what < 0) return 0; \
    size /= 2; \
    return call

ssize_t read(int handle, void *into, size_t size) {
    REAL(read);
    if (!fails(READ, handle)) return real(handle, into, size);
    FAIL_OR(real(handle, into, size));
}

ssize_t pread(int handle, void *into, size_t size, off_t at) {
    REAL(pread);
    if (!fails(READ, handle)) return real(handle, into, size, at);
    FAIL_OR(real(handle, into, size, at));
}

ssize_t pread64(int handle, void *into, size_t size, off64_t at) {
    REAL(pread64);
    if (!fails(READ, handle)) return real(handle, into, size, at);
    FAIL_OR(real(handle, into, size, at));
}

ssize_t write(int handle, const void *from, size_t size) {
    REAL(write);
    if (!fails(WRITE, handle)) return real(handle, from, size);
    FAIL_OR(real(handle, from, size));
}

ssize_t pwrite(int handle, const void *from, size_t size, off_t at) {
    REAL(pwrite);
    if (!fails(WRITE, handle)) return real(handle, from, size, at);
    FAIL_OR(real(handle, from, size, at));
}

ssize_t pwrite64(int handle, const void *from, size_t size, off64_t at) {
    REAL(pwrite64);
    if (!fails(WRITE, handle)) return real(handle, from, size, at);
    FAIL_OR(real(handle, from, size, at));
}

#define FAIL() errno = plan->what > 0 ? plan->what : EIO; return -1

int fsync(int handle) {
    REAL(fsync);
    if (!fails(SYNC, handle)) return real(handle);
    FAIL();
}

int fdatasync(int handle) {
    REAL(fdatasync);
    if (!fails(SYNC, handle)) return real(handle);
    FAIL();
}

int ftruncate(int handle, off_t size) {
    REAL(ftruncate);
    if (!fails(TRUNCATE, handle)) return real(handle, size);
    FAIL();
}

int ftruncate64(int handle, off64_t size) {
    REAL(ftruncate64);
    if (!fails(TRUNCATE, handle)) return real(handle, size);
    FAIL();
}
