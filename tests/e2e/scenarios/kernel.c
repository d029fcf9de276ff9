/* Stands between a process and the kernel: clocks run ahead by what a file says, and SIGKILL may have no effect. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct steering {
    int64_t ahead_ns;
    int64_t unkillable;
};

static volatile struct steering *steering;
static pid_t owed;

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("GPUFLEET_KERNEL");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof *steering, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED) steering = mapped;
    close(fd);
}

int clock_gettime(clockid_t id, struct timespec *out) {
    long rc = syscall(SYS_clock_gettime, id, out);
    if (rc || !steering) return (int)rc;
    if (id == CLOCK_REALTIME || id == CLOCK_MONOTONIC || id == CLOCK_BOOTTIME || id == CLOCK_REALTIME_COARSE ||
        id == CLOCK_MONOTONIC_COARSE || id == CLOCK_MONOTONIC_RAW) {
        int64_t ns = out->tv_nsec + steering->ahead_ns % 1000000000;
        out->tv_sec += steering->ahead_ns / 1000000000 + ns / 1000000000;
        out->tv_nsec = ns % 1000000000;
    }
    return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

/* Who waits until a time by its own clock waits until that time by the kernel's. */
static struct timespec by_kernel(const struct timespec *until) {
    struct timespec real = *until;
    if (!steering) return real;
    int64_t ns = real.tv_nsec - steering->ahead_ns % 1000000000;
    real.tv_sec -= steering->ahead_ns / 1000000000 + (ns < 0);
    real.tv_nsec = ns < 0 ? ns + 1000000000 : ns;
    if (real.tv_sec < 0) real.tv_sec = real.tv_nsec = 0;
    return real;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int clock_nanosleep(clockid_t id, int flags, const struct timespec *until, struct timespec *left) {
    struct timespec real = flags & TIMER_ABSTIME ? by_kernel(until) : *until;
    return NEXT(clock_nanosleep)(id, flags, &real, left);
}

int sem_clockwait(sem_t *sem, clockid_t id, const struct timespec *until) {
    struct timespec real = by_kernel(until);
    return NEXT(sem_clockwait)(sem, id, &real);
}

int sem_timedwait(sem_t *sem, const struct timespec *until) {
    struct timespec real = by_kernel(until);
    return NEXT(sem_timedwait)(sem, &real);
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until) {
    struct timespec real = by_kernel(until);
    return NEXT(pthread_cond_timedwait)(cond, mutex, &real);
}

/* A process in uninterruptible sleep: the signal is taken, and has its effect when the sleep ends. */
int kill(pid_t pid, int sig) {
    if (sig == SIGKILL && steering && steering->unkillable) {
        owed = pid;
        return 0;
    }
    return (int)syscall(SYS_kill, pid, sig);
}

pid_t waitpid(pid_t pid, int *status, int options) {
    if (owed && steering && !steering->unkillable) {
        syscall(SYS_kill, owed, SIGKILL);
        owed = 0;
    }
    return (pid_t)syscall(SYS_wait4, pid, status, options, NULL);
}
