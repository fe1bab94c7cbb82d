/* gort_rt.h: the C code of the core that Cython's pure Python mode cannot express.
 *
 * What lives here: the scheduler's lock, the thread-local M slot, the resumption of a coroutine without a
 * StopIteration, am_send and the free list of operations, clocks, stack bounds, public names of compiled classes.  What
 * does not: any scheduling decision.  rt.py has functions of the same names for the uncompiled core.
 */
#ifndef GORT_RT_H
#define GORT_RT_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <time.h>
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <linux/futex.h>
#elif !defined(_WIN32)
#include <pthread.h>
#include <unistd.h>
#endif

#ifdef Py_GIL_DISABLED
#define GORT_FREE_THREADED 1
#else
#define GORT_FREE_THREADED 0
#endif

/* ---- shared state -------------------------------------------------------------------------------------------
 * Each extension module includes this header, so a plain static variable would exist once per module.  One module
 * (runtime2) owns the state and exports it as a capsule; the others fetch the pointer when they are imported. */
#define GORT_GIL_WAITS 44                                 /* as many as P.latencies has */
typedef struct gort_shared {
    int lockrank;                                         /* GODEBUG=lockrank=1 */
    void (*rank_acquire)(void *lock, int rank);
    void (*rank_release)(void *lock, int rank);
    PyObject *(*getm)(void);                              /* borrowed; NULL where the thread is no M */
    void (*setm)(PyObject *);
    ptrdiff_t tls_m;                                      /* the M slot's distance from the thread pointer */
    int (*op_send)(PyObject *, PyObject *, PyObject **);  /* op.py's am_send, set when op.py is imported */
    PyObject *(*op_await)(PyObject *);                    /* op.py's op_await, set when gort.aio is imported; else NULL */
    int (*value_send)(PyObject *, PyObject *, PyObject **); /* direct.py's value_send: am_send of a ValueOp */
    int (*value_install)(PyTypeObject *);                 /* gives a subclass of Op slots that call it */
    int gil_measured;                                     /* somebody has read metrics: waits for the GIL are counted */
    int64_t gil_waits[GORT_GIL_WAITS];                    /* the i-th: of less than 2^i ns, and not less than half of that */
} gort_shared;

static gort_shared *gort_sh = NULL;
/* Copies of two fields that never change once the owner is imported.  They save a load at every lock and operation. */
static int gort_lockrank = 0;
static ptrdiff_t gort_tls_m_at = 0;

#if defined(_MSC_VER)
#define GORT_TLS static __declspec(thread)
#elif defined(__linux__) && defined(__GLIBC__)
/* initial-exec: one load and no call of __tls_get_addr.  glibc reserves some space for such variables of libraries that
 * are loaded later; ours fit.  musl reserves none, and refuses to load such a library. */
#define GORT_TLS static __thread __attribute__((tls_model("initial-exec")))
#define GORT_TLS_FIXED 1
#else
#define GORT_TLS static __thread
#endif

/* With the initial-exec model a thread-local variable has the same distance from the thread pointer in every thread, so
 * the other modules can read the owner's without a call. */
#if defined(GORT_TLS_FIXED) && (defined(__x86_64__) || defined(__aarch64__)) && defined(__has_builtin)
#if __has_builtin(__builtin_thread_pointer)
#define GORT_TLS_DIRECT 1
#endif
#endif

#ifdef GORT_RT_OWNER
GORT_TLS PyObject *gort_tls_m = NULL;
GORT_TLS int64_t gort_tls_probe = 0;
static PyObject *gort_getm_impl(void) { return gort_tls_m; }
static void gort_op_drain(void);
static void gort_stop_drain(void);
static void gort_setm_impl(PyObject *m) {
    gort_tls_m = m;
    if (m == NULL) { gort_op_drain(); gort_stop_drain(); }
}

#define GORT_MAXHELD 64
typedef struct { int n; int rank[GORT_MAXHELD]; void *lock[GORT_MAXHELD]; } gort_held;
GORT_TLS gort_held gort_tls_held;
static void (*gort_rank_throw)(int held, int wanted, int same) = NULL;

static void gort_rank_acquire_impl(void *lock, int rank) {
    gort_held *h = &gort_tls_held;
    for (int i = 0; i < h->n; i++) {
        /* Locks of the same rank are acquired in the order of their addresses, as select does with its channels. */
        int bad = h->rank[i] > rank || (h->rank[i] == rank && h->lock[i] >= lock);
        if (bad && gort_rank_throw) {
            gort_rank_throw(h->rank[i], rank, h->rank[i] == rank);
            return;
        }
    }
    if (h->n < GORT_MAXHELD) { h->rank[h->n] = rank; h->lock[h->n] = lock; h->n++; }
}
static void gort_rank_release_impl(void *lock, int rank) {
    gort_held *h = &gort_tls_held;
    for (int i = h->n - 1; i >= 0; i--) {
        if (h->lock[i] == lock) {
            for (; i + 1 < h->n; i++) { h->rank[i] = h->rank[i + 1]; h->lock[i] = h->lock[i + 1]; }
            h->n--;
            return;
        }
    }
}
static gort_shared gort_owned = { 0, gort_rank_acquire_impl, gort_rank_release_impl, gort_getm_impl, gort_setm_impl, 0, NULL };

static inline void rt_stack_bounds(long long *lo, long long *hi) {
    *lo = *hi = 0;
#if defined(__linux__)
    pthread_attr_t attr;
    void *addr;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attr) != 0) return;
    if (pthread_attr_getstack(&attr, &addr, &size) == 0) {
        *lo = (long long)(intptr_t)addr;
        *hi = *lo + (long long)size;
    }
    pthread_attr_destroy(&attr);
#elif defined(__APPLE__)
    *hi = (long long)(intptr_t)pthread_get_stackaddr_np(pthread_self());
    *lo = *hi - (long long)pthread_get_stacksize_np(pthread_self());
#endif
}

static inline int64_t rt_tls_store(int64_t v) { gort_tls_probe = v; return 0; }
static inline int64_t rt_tls_load(void) { return gort_tls_probe; }
static inline PyObject *rt_export(void) {
    gort_sh = &gort_owned;
#ifdef GORT_TLS_DIRECT
    gort_owned.tls_m = gort_tls_m_at = (char *)&gort_tls_m - (char *)__builtin_thread_pointer();
#endif
    return PyCapsule_New(&gort_owned, "gort._runtime.core.runtime2._rt", NULL);
}
static inline void rt_set_lockrank(int on) { gort_owned.lockrank = gort_lockrank = on; }
static inline void rt_set_rank_throw(void (*f)(int, int, int)) { gort_rank_throw = f; }
#else
static inline int rt_import(void) {
    /* Not PyCapsule_Import, which looks attributes up from the package on, and that is half imported at this point. */
    PyObject *module = PyImport_ImportModule("gort._runtime.core.runtime2");
    if (module == NULL) return -1;
    PyObject *capsule = PyObject_GetAttrString(module, "_rt");
    Py_DECREF(module);
    if (capsule == NULL) return -1;
    gort_sh = (gort_shared *)PyCapsule_GetPointer(capsule, "gort._runtime.core.runtime2._rt");
    Py_DECREF(capsule);                                   /* the module keeps it alive */
    if (gort_sh == NULL) return -1;
    gort_lockrank = gort_sh->lockrank;
    gort_tls_m_at = gort_sh->tls_m;
    return 0;
}
#endif

static inline PyObject *rt_getm(void) {
#ifdef GORT_TLS_DIRECT
    return *(PyObject **)((char *)__builtin_thread_pointer() + gort_tls_m_at);
#else
    return gort_sh->getm();
#endif
}
static inline void rt_setm(PyObject *m) { gort_sh->setm(m); }

/* ---- the lock -----------------------------------------------------------------------------------------------
 * Without the GIL: a word in memory and a futex.  A thread that must wait detaches its thread state first, so that it
 * never delays a stop-the-world of the collector.  It acquires the lock only after it has attached again, so that no
 * thread holds a lock through a stop-the-world.
 * Rejected: PyMutex, which yields the CPU forty times before it sleeps, like CPython's other locks (see "notes" below).
 * With the GIL: nothing, because no critical section of the core runs Python code, allocates an object that the
 * collector tracks, or drops the last reference to a user's value; HACKING.md states that rule. */
#if defined(Py_GIL_DISABLED) && defined(__linux__)
typedef int rt_mutex;                                     /* 0: free, 1: held, 2: held, and a thread may be asleep */
#define GORT_SPIN 100                                     /* tries before the sleep: a critical section takes 100 ns */
static __attribute__((noinline, unused)) void gort_lock_contended(rt_mutex *m) {
    for (int i = 0; i < GORT_SPIN; i++) {
        int none = 0;
        if (__atomic_load_n(m, __ATOMIC_RELAXED) == 0 &&
            __atomic_compare_exchange_n(m, &none, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }
    while (__atomic_exchange_n(m, 2, __ATOMIC_ACQUIRE) != 0) {
        Py_BEGIN_ALLOW_THREADS
        syscall(SYS_futex, m, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
        Py_END_ALLOW_THREADS
    }
}
static __attribute__((noinline, unused)) void gort_unlock_contended(rt_mutex *m) {
    syscall(SYS_futex, m, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
static inline void RT_LOCK(rt_mutex *m) {
    int none = 0;
    if (__builtin_expect(!__atomic_compare_exchange_n(m, &none, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED), 0))
        gort_lock_contended(m);
}
static inline void RT_UNLOCK(rt_mutex *m) {
    if (__builtin_expect(__atomic_exchange_n(m, 0, __ATOMIC_RELEASE) == 2, 0)) gort_unlock_contended(m);
}
#elif defined(Py_GIL_DISABLED)
typedef PyMutex rt_mutex;
#define RT_LOCK(m) PyMutex_Lock(m)
#define RT_UNLOCK(m) PyMutex_Unlock(m)
#else
typedef char rt_mutex;
#define RT_LOCK(m) ((void)0)
#define RT_UNLOCK(m) ((void)0)
#endif

static inline void rt_lock(rt_mutex *m, int rank) {
    if (__builtin_expect(gort_lockrank, 0)) gort_sh->rank_acquire((void *)m, rank);
    RT_LOCK(m);
}
static inline void rt_unlock(rt_mutex *m, int rank) {
    RT_UNLOCK(m);
    if (__builtin_expect(gort_lockrank, 0)) gort_sh->rank_release((void *)m, rank);
}

/* Whether rt_lock does anything. */
static inline int rt_locks(void) { return GORT_FREE_THREADED || __builtin_expect(gort_lockrank, 0); }

/* ---- waits for the GIL ---------------------------------------------------------------------------------------
 * A thread of the runtime's that has slept without the GIL calls the first function when it wakes, and the second when it
 * has the GIL again: what lies between is counted.  CPython itself tells nobody how long a thread waits for it, so a
 * thread that comes back from a call of the user's is not counted.
 * Off, it is one test in each sleep.  The counters need no lock: who writes them has the GIL. */
static inline int64_t rt_nanotime(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}
static inline int64_t rt_gil_wanted(void) {               /* 0: it is not counted */
#ifdef Py_GIL_DISABLED
    return 0;
#else
    return __atomic_load_n(&gort_sh->gil_measured, __ATOMIC_RELAXED) ? rt_nanotime() : 0;
#endif
}
static inline void rt_gil_taken(int64_t since) {
#ifdef Py_GIL_DISABLED
    (void)since;
#else
    if (since == 0 || !gort_sh->gil_measured) return;
    int64_t ns = rt_nanotime() - since;
    int i = 0;
    for (; ns > 0 && i < GORT_GIL_WAITS - 1; i++) ns >>= 1;
    gort_sh->gil_waits[i]++;
#endif
}
static inline void rt_gil_measure(void) { __atomic_store_n(&gort_sh->gil_measured, 1, __ATOMIC_RELAXED); }
static inline int64_t rt_gil_waits(int i) { return gort_sh->gil_waits[i]; }

/* ---- notes --------------------------------------------------------------------------------------------------
 * A thread sleeps on a note.  Rejected: a Python lock.  From 3.13 on, without the GIL, it yields the CPU forty times
 * before it sleeps.  If other threads compute, that takes forty of their time slices, a tenth of a second, during which
 * the thread notices no wake-up.
 * A note is 0, 1 once it is woken, or 3 while its thread sleeps: only then a wake-up needs the system.  (2 is what a thread
 * waits with for a lock; see rt_doing.) */
#ifdef __linux__
static inline void rt_note_block(int *note, struct timespec *limit) {
    int calm = 0;
    if (__atomic_compare_exchange_n(note, &calm, 3, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        syscall(SYS_futex, note, FUTEX_WAIT_PRIVATE, 3, limit, NULL, 0);
}
static inline int rt_note_taken(int *note) {              /* 1: it was woken; consumes the wake-up */
    return __atomic_exchange_n(note, 0, __ATOMIC_ACQ_REL) == 1;
}
static inline int rt_note_sleep(int *note, int64_t ns) {   /* ns < 0: no limit.  As rt_note_taken */
    struct timespec ts = { ns / 1000000000, ns % 1000000000 };
    if (rt_note_taken(note)) return 1;
    int64_t woken;
    Py_BEGIN_ALLOW_THREADS
    rt_note_block(note, ns < 0 ? NULL : &ts);
    woken = rt_gil_wanted();
    Py_END_ALLOW_THREADS
    rt_gil_taken(woken);
    return rt_note_taken(note);
}
static inline void rt_note_wakeup(int *note);
/* Looks for so many ns whether it is woken, and does not sleep. */
static inline void rt_note_spin(int *note, int64_t ns) {
    int64_t until = rt_nanotime() + ns;
    do {
        for (int i = 0; i < 32; i++) {
            if (__atomic_load_n(note, __ATOMIC_ACQUIRE) == 1) return;
#if defined(__x86_64__) || defined(__i386__)
            __builtin_ia32_pause();
#elif defined(__aarch64__)
            __asm__ volatile("yield");
#endif
        }
        sched_yield();                                    /* whoever is to wake it may need this processor */
    } while (rt_nanotime() < until);
}
/* Wakes `other` and sleeps on `note`, without the GIL in between.  spin: how many ns to look before the sleep. */
static inline int rt_note_pass(int *other, int *note, int64_t ns, int64_t spin) {
    struct timespec ts = { ns / 1000000000, ns % 1000000000 };
    int64_t woken;
    Py_BEGIN_ALLOW_THREADS
    rt_note_wakeup(other);
    if (spin > 0) rt_note_spin(note, spin);
    rt_note_block(note, &ts);
    woken = rt_gil_wanted();
    Py_END_ALLOW_THREADS
    rt_gil_taken(woken);
    return rt_note_taken(note);
}
static inline void rt_note_wakeup(int *note) {
    if (__atomic_exchange_n(note, 1, __ATOMIC_ACQ_REL) == 3) syscall(SYS_futex, note, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
#else
static pthread_mutex_t rt_note_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t rt_note_cond = PTHREAD_COND_INITIALIZER;
static inline int rt_note_sleep(int *note, int64_t ns) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (ns > 0) {
        ts.tv_sec += (ts.tv_nsec + ns) / 1000000000;
        ts.tv_nsec = (ts.tv_nsec + ns) % 1000000000;
    }
    int64_t since;
    int woken, failed = 0;
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&rt_note_mutex);
    while (!*note && !failed)
        failed = ns < 0 ? pthread_cond_wait(&rt_note_cond, &rt_note_mutex)
                        : pthread_cond_timedwait(&rt_note_cond, &rt_note_mutex, &ts);
    woken = *note;
    *note = 0;
    pthread_mutex_unlock(&rt_note_mutex);
    since = rt_gil_wanted();
    Py_END_ALLOW_THREADS
    rt_gil_taken(since);
    return woken;
}
static inline void rt_note_wakeup(int *note) {
    pthread_mutex_lock(&rt_note_mutex);
    *note = 1;
    pthread_mutex_unlock(&rt_note_mutex);
    pthread_cond_broadcast(&rt_note_cond);
}
static inline int rt_note_pass(int *other, int *note, int64_t ns, int64_t spin) {
    (void)spin;
    rt_note_wakeup(other);
    return rt_note_sleep(note, ns);
}
#endif
/* Without the GIL: what this thread has stored before is seen by all before it loads what it loads after.  For two threads
 * of which each stores a word and then loads the other's: without this both may load what was there before. */
static inline void rt_fence(void) {
#ifdef Py_GIL_DISABLED
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}
/* Lets the sleeps of this thread end at their time: Linux may let each last 50 us longer. */
static inline void rt_sharp_sleeps(void) {
#ifdef __linux__
    prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
#endif
}
/* rt_note_sleep for a thread that does not hold the GIL. */
static inline int rt_note_doze(int *note, int64_t ns) {
#ifdef __linux__
    struct timespec ts = { ns / 1000000000, ns % 1000000000 };
    if (rt_note_taken(note)) return 1;
    rt_note_block(note, &ts);
    return rt_note_taken(note);
#else
    (void)note; (void)ns;
    return 1;
#endif
}
static inline void rt_note_clear(int *note) { __atomic_store_n(note, 0, __ATOMIC_RELEASE); }

/* ---- clocks and threads ------------------------------------------------------------------------------------ */
/* The CPU time that this thread has used, in ns; 0 where the system does not tell. */
static inline int64_t rt_cputime(void) {
#ifdef CLOCK_THREAD_CPUTIME_ID
    struct timespec ts;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) == 0) return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
#endif
    return 0;
}

/* ---- stacks ------------------------------------------------------------------------------------------------- */
/* An address in this thread's stack, near its top where the M's first function calls it. */
static inline int64_t rt_stack_here(void) { return (int64_t)(intptr_t)__builtin_frame_address(0); }

/* Gives the system the pages back that this thread has used below the caller's frame: to start another thread takes a
 * page more of the stack than a goroutine that then blocks its thread for long, and there may be thousands of those.
 * Nothing that lives is there, and what grows down again gets new pages.  Done only near the top (`top`, from
 * rt_stack_here; 0: unknown), so that it cannot reach below the smallest stack that Python allows, 32 KiB. */
static inline void rt_stack_trim(int64_t top) {
#if defined(__linux__) && defined(MADV_DONTNEED)
    enum { PAGE = 4096, NEAR = 2 * PAGE, FREED = 2 * PAGE, RED = 1024 };
    static int page = 0;
    int64_t here = rt_stack_here();
    if (page == 0) page = (int)sysconf(_SC_PAGESIZE);
    if (page != PAGE || top - here > NEAR || top < here) return;
    char *end = (char *)(intptr_t)((here - RED) & ~(int64_t)(PAGE - 1));
    int saved = errno;
    madvise(end - FREED, FREED, MADV_DONTNEED);
    errno = saved;
#else
    (void)top;
#endif
}

/* How often this thread has gone to sleep by itself: in a call that blocks, or for a lock.  -1: unknown.  When the system
 * takes a processor away from a thread that could go on, that does not count. */
static inline int64_t rt_sleeps(void) {
#ifdef RUSAGE_THREAD
    struct rusage usage;
    if (getrusage(RUSAGE_THREAD, &usage) == 0) return usage.ru_nvcsw;
#endif
    return -1;
}

/* The CPU time of the thread with this number of the kernel's; -1 where the system does not tell, or it has ended
 * (machine.cpu_clock). */
#ifdef __linux__
#define GORT_CPU_OF 1
static inline int64_t rt_cpu_of(int64_t procid) {
    struct timespec ts;
    if (procid == 0 || clock_gettime((clockid_t)(((unsigned int)~procid << 3) | 6), &ts) != 0) return -1;
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}
#else
#define GORT_CPU_OF 0
static inline int64_t rt_cpu_of(int64_t procid) { (void)procid; return -1; }
#endif

/* What the thread with this number does at this moment (machine.py has the same values, with their meanings).  The
 * kernel's answer is "running", or the number of the system call that the thread sleeps in and its arguments, or -1 where
 * it sleeps outside of one: for a page of memory.  Needs no GIL.
 * Rejected: the state in `stat`, which does not tell a lock from a call. */
enum { GORT_UNKNOWN, GORT_RUNS, GORT_WAITS_FOR_GIL, GORT_WAITS_FOR_LOCK, GORT_IN_CALL, GORT_WAITS_INSIDE };
#ifdef __linux__
extern struct pyruntimestate _PyRuntime __attribute__((weak)); /* CPython's static data; the locks of the GIL are in it */
#define GORT_RUNTIME_BYTES (1 << 20)                      /* more than it has */
#define GORT_FRAMES 4096                                  /* more than the frames between a semaphore and its system call */
static inline int gort_for_memory(long call) {            /* the kernel's own lock of the memory map is what these wait for */
    switch (call) {
#ifdef SYS_mmap
    case SYS_mmap:
#endif
#ifdef SYS_clone3
    case SYS_clone3:
#endif
#ifdef SYS_membarrier
    case SYS_membarrier:
#endif
    case SYS_munmap: case SYS_mprotect: case SYS_mremap: case SYS_madvise: case SYS_brk: case SYS_clone:
    case SYS_sched_yield: return 1;
    default: return 0;
    }
}
static __attribute__((noinline, unused)) int rt_doing(int64_t procid) {
    char path[64], text[256], *end;
    if (procid == 0) return GORT_UNKNOWN;
    snprintf(path, sizeof path, "/proc/self/task/%lld/syscall", (long long)procid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return GORT_UNKNOWN;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return GORT_UNKNOWN;
    text[n] = 0;
    if (text[0] == 'r') return GORT_RUNS;
    long call = strtol(text, &end, 10);
    if (end == text) return GORT_UNKNOWN;
    if (call < 0 || gort_for_memory(call)) return GORT_RUNS;
    if (call != SYS_futex) return GORT_IN_CALL;
    uintptr_t args[8] = { 0 }, word, data = (uintptr_t)&_PyRuntime; /* the arguments, then the stack pointer and the pc */
    for (int i = 0; i < 8; i++) args[i] = (uintptr_t)strtoull(end, &end, 16);
    word = args[0];
    if (data != 0 && word >= data && word < data + GORT_RUNTIME_BYTES) return GORT_WAITS_FOR_GIL;
#ifdef Py_GIL_DISABLED
    /* CPython's PyMutex and its stop of the world park a thread on a semaphore on that thread's own stack; in gort's locks
     * 2 says that a thread waits. */
    if (word - args[6] < GORT_FRAMES || (args[1] == FUTEX_WAIT_PRIVATE && args[2] == 2)) return GORT_WAITS_INSIDE;
#endif
    return GORT_WAITS_FOR_LOCK;
}
#else
static inline int rt_doing(int64_t procid) { (void)procid; return GORT_UNKNOWN; }
#endif

/* ---- resuming a goroutine ----------------------------------------------------------------------------------
 * The coroutine runs in the goroutine's own contextvars context.  We swap the thread state's context pointer (as
 * greenlet does), because Context.run would need a Context object for each goroutine even if no variable is ever set.
 * *ctx owns its reference; NULL is a context that was never used. */
static inline void rt_swap_context_of(PyThreadState *ts, PyObject **ctx) {
    PyObject *old = ts->context;
    if (old != *ctx) {
        ts->context = *ctx;
        ts->context_ver++;
        *ctx = old;
    }
}
static inline void rt_swap_context(PyObject **ctx) { rt_swap_context_of(PyThreadState_GET(), ctx); }

/* The context that a new goroutine inherits: a copy of the current one, or NULL if the thread has none. */
static inline PyObject *rt_copy_context(void) {
    if (PyThreadState_GET()->context == NULL) return NULL;
    return PyContext_CopyCurrent();
}

/* The same as an object; None if the thread has no context. */
static inline PyObject *rt_copy_context_object(void) {
    if (PyThreadState_GET()->context == NULL) Py_RETURN_NONE;
    return PyContext_CopyCurrent();
}

/* The state of a thread that is in the scheduler's loop, so that no switch has to look it up.  rt_begin_loop stores it: a
 * thread may have another one in its next run. */
GORT_TLS PyThreadState *gort_tls_ts;
static inline void rt_begin_loop(void) { gort_tls_ts = PyThreadState_GET(); }

/* True while this thread, which is in the loop, has a trace function (sys.settrace). */
static inline int rt_traced(void) { return gort_tls_ts->c_tracefunc != NULL; }

/* Resumes coro, on a thread that is in the loop.  *result stays NULL where the result is None. */
static inline int rt_resume(PyObject *coro, PyObject **ctx, PyObject **result) {
    PyThreadState *ts = gort_tls_ts;
    PySendResult r;
    rt_swap_context_of(ts, ctx);
    if (__builtin_expect(PyCoro_CheckExact(coro), 1))
        r = Py_TYPE(coro)->tp_as_async->am_send(coro, Py_None, result);
    else
        r = PyIter_Send(coro, Py_None, result);
    rt_swap_context_of(ts, ctx);
    if (__builtin_expect(*result == Py_None, 1)) {
        Py_DECREF(Py_None);
        *result = NULL;
    }
    return (int)r;                                        /* PYGEN_ERROR is -1, RETURN 0, NEXT 1 */
}

/* rt_resume's like for a plain function: calls fn(*args, **kwargs), or via(fn, args, kwargs) unless via is None.  0: it
 * returned *result, -1: it raised.  And for a coroutine in which exc is raised: 1: it is suspended, -1: it raised, also
 * the StopIteration of a return.
 * They are in C because Cython's `except` and `finally` crash on an exception without a traceback, which is what arrives
 * when there was no memory for one. */
static inline int rt_call_in(PyObject *fn, PyObject *args, PyObject *kwargs, PyObject *via, PyObject **ctx,
                             PyObject **result) {
    PyThreadState *ts = PyThreadState_GET();
    rt_swap_context_of(ts, ctx);
    if (via == Py_None)
        *result = PyObject_Call(fn, args, kwargs == Py_None ? NULL : kwargs);
    else {
        PyObject *named = kwargs == Py_None ? PyDict_New() : Py_NewRef(kwargs);
        *result = named == NULL ? NULL : PyObject_CallFunctionObjArgs(via, fn, args, named, NULL);
        Py_XDECREF(named);
    }
    rt_swap_context_of(ts, ctx);
    return *result == NULL ? -1 : 0;
}

static inline int rt_throw_in(PyObject *coro, PyObject *exc, PyObject **ctx, PyObject **result) {
    PyThreadState *ts = PyThreadState_GET();
    rt_swap_context_of(ts, ctx);
    *result = PyObject_CallMethod(coro, "throw", "O", exc);
    rt_swap_context_of(ts, ctx);
    return *result == NULL ? -1 : 1;
}

/* list.pop(), which fails where it wants to give memory back and the allocator refuses.  Here the list keeps the memory
 * then, as it does where it is more than half full, and a short one always: a heap of timers often goes from one to none
 * and back.  For lists that one lock of ours guards, and that are not empty. */
static inline PyObject *rt_list_pop(PyObject *list) {
    Py_ssize_t n = PyList_GET_SIZE(list) - 1;
    PyObject *last = PyList_GET_ITEM(list, n);
    if (n <= ((PyListObject *)list)->allocated >> 1 && ((PyListObject *)list)->allocated > 64) {
        Py_INCREF(last);
        if (PyList_SetSlice(list, n, n + 1, NULL) == 0) return last;
        PyErr_Clear();
        Py_DECREF(last);
    }
    Py_SET_SIZE((PyVarObject *)list, n);
    return last;
}

/* ---- objects that the cyclic collector need not visit ----------------------------------------------------------
 * An object that the runtime itself holds is alive, and so is everything it refers to: a goroutine's coroutine from the
 * go statement to its end, a timer while it is in a heap.  So we hide such objects from the collector.  It then treats
 * what they refer to as referenced from outside, which is correct.  With 10^5 goroutines the collector's visits would
 * cost as much as the scheduling.
 * When the runtime gives such an object up, it shows it to the collector again, and does so before anybody can drop the
 * last reference, because a coroutine's dealloc assumes that it is tracked. */
static inline void rt_gc_hide(PyObject *o) { PyObject_GC_UnTrack(o); }
static inline void rt_gc_show(PyObject *o) {
    if (!PyObject_GC_IsTracked(o)) PyObject_GC_Track(o);
}
/* From 3.14 on, without the GIL, a suspended coroutine's frame has uncounted references (to functions, types, code).
 * The collector learns of them only when it visits the coroutine, and would otherwise free the objects they refer
 * to. */
static inline void rt_gc_hide_coro(PyObject *o) {
#if !defined(Py_GIL_DISABLED) || PY_VERSION_HEX < 0x030E0000
    if (PyCoro_CheckExact(o)) PyObject_GC_UnTrack(o);
#endif
}
static inline void rt_gc_show_coro(PyObject *o) {
    if (PyCoro_CheckExact(o)) rt_gc_show(o);
}

/* Takes the current exception, as one normalized object with its traceback, and clears it. */
static inline PyObject *rt_fetch_exc(void) {
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *t, *v, *tb;
    PyErr_Fetch(&t, &v, &tb);
    PyErr_NormalizeException(&t, &v, &tb);
    if (tb != NULL) { PyException_SetTraceback(v, tb); Py_DECREF(tb); }
    Py_XDECREF(t);
    return v;
#endif
}

/* Raises exc without a traceback, for a caller that then returns its error value.  `raise` would add Cython's entry for
 * each function on the way. */
static inline void rt_raise(PyObject *exc) {
    PyException_SetTraceback(exc, Py_None);
    PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
}

/* Marks an operation, whose state has just been OP_NEW, as used.  0 when another thread has done so in between. */
static inline int rt_claim(int *state) {
#ifdef Py_GIL_DISABLED
    int fresh = 0;
    return __atomic_compare_exchange_n(state, &fresh, 2, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
#else
    *state = 2;
    return 1;
#endif
}

/* Gives up this thread's share of op's reference count: from now on all threads count op in one word, atomically.
 *
 * For an object that this thread has made and that others will let go of.  Without the GIL an object has an owner,
 * the thread that made it.  Where another one drops a reference first, CPython puts the object on a list that the
 * owner settles later, and all threads contend for that list's lock: in `echo` with 8 Ps they gave their CPUs up for
 * it two million times a second, and without that it is 11 % faster.  An object with many references has been about
 * for long, and its owner may count it often: it stays as it is.  The caller holds a reference, so op lives until
 * the two last stores. */
#define GORT_FEW 4
static inline void rt_share(PyObject *op) {
#ifdef Py_GIL_DISABLED
    uint32_t local = __atomic_load_n(&op->ob_ref_local, __ATOMIC_RELAXED);
    if (local > GORT_FEW || __atomic_load_n(&op->ob_tid, __ATOMIC_RELAXED) != _Py_ThreadId()) return;
    Py_ssize_t count = __atomic_load_n(&op->ob_ref_shared, __ATOMIC_RELAXED);
    do {
        if ((count & _Py_REF_SHARED_FLAG_MASK) >= _Py_REF_QUEUED) return;   /* it has been on that list, or is there */
    } while (!__atomic_compare_exchange_n(&op->ob_ref_shared, &count,
                 ((count & ~(Py_ssize_t)_Py_REF_SHARED_FLAG_MASK) + ((Py_ssize_t)local << _Py_REF_SHARED_SHIFT)) | _Py_REF_MERGED,
                 1, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    __atomic_store_n(&op->ob_ref_local, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&op->ob_tid, 0, __ATOMIC_RELAXED);
#else
    (void)op;
#endif
}

static inline void rt_usleep(long us) {
    struct timespec ts = { us / 1000000, (us % 1000000) * 1000 };
    Py_BEGIN_ALLOW_THREADS
    nanosleep(&ts, NULL);
    Py_END_ALLOW_THREADS
}

/* ---- operation objects -------------------------------------------------------------------------------------
 * SEND in 3.11 and PyIter_Send call am_send; 3.12 and later call tp_iternext.  tp_iternext returns a result of None as
 * NULL without an exception; any other result needs a StopIteration. */
typedef int (*rt_sendfunc)(PyObject *, PyObject *, PyObject **);

static inline void rt_set_op_send(rt_sendfunc f) { gort_sh->op_send = f; }

typedef PyObject *(*rt_awaitfunc)(PyObject *);

static inline void rt_set_op_await(rt_awaitfunc f) { __atomic_store_n(&gort_sh->op_await, f, __ATOMIC_RELEASE); }

typedef struct gort_op {                                  /* Op's layout in runtime2.pxd; rt_op_check compares */
    PyObject_HEAD
    void *vtab;
    int kind, state, success, index, heapidx;
    int64_t when;
    PyObject *g, *c, *elem, *next, *prev, *sel;
} gort_op;

/* am_send of op.py.  An error is passed on as it is: a call of Cython's would add an entry to the traceback. */
static inline int rt_op_send(PyObject *op, PyObject *arg, PyObject **result) { return gort_sh->op_send(op, arg, result); }
static inline void rt_set_value_send(rt_sendfunc f) { gort_sh->value_send = f; }
static inline int rt_install_value(PyObject *type) { return gort_sh->value_install((PyTypeObject *)type); }

/* An operation's value and a place of a channel's buffer change places; no reference is counted. */
static inline void rt_op_swap(PyObject *op, PyObject *buffer, Py_ssize_t i) {
    PyObject **slot = &((PyListObject *)buffer)->ob_item[i], *value = *slot;
    *slot = ((gort_op *)op)->elem;
    ((gort_op *)op)->elem = value;
}
/* Two operations that have met exchange their values, of which one is None. */
static inline void rt_op_trade(PyObject *one, PyObject *other) {
    PyObject *value = ((gort_op *)one)->elem;
    ((gort_op *)one)->elem = ((gort_op *)other)->elem;
    ((gort_op *)other)->elem = value;
}
/* Takes the value out of an operation, for the interpreter. */
static inline PyObject *rt_op_take(PyObject *op) {
    PyObject *value = ((gort_op *)op)->elem;
    ((gort_op *)op)->elem = Py_NewRef(Py_None);
    return value;
}

#ifdef GORT_RT_OWNER
/* The free list of operations.  An operation lives for one await, so it must be cheap to make.  One list serves Op and
 * all its compiled subclasses, which add no field and no __dealloc__ (a subclass made in Python is a heap type and is
 * allocated the ordinary way).  Every reference of a free operation is None.  Without the GIL each thread has its own
 * list; with the GIL, which guards it, all threads share one. */
#define GORT_OP_FREE 256
/* With the GIL a free operation stays tracked by the collector and has one reference, the list's.  To untrack and track
 * it each time would cost a tenth of a channel operation.  Without the GIL an object's head names the thread that owns
 * the object, so the head is initialised again. */
#ifdef Py_GIL_DISABLED
#define GORT_OP_LOCAL GORT_TLS
#define gort_op_rest(o) PyObject_GC_UnTrack(o)
#define gort_op_revive(o, type) ((void)PyObject_INIT((PyObject *)(o), type), PyObject_GC_Track(o))
#else
#define GORT_OP_LOCAL static
#define gort_op_rest(o) Py_SET_REFCNT((PyObject *)(o), 1)
#define gort_op_revive(o, type) Py_SET_TYPE((PyObject *)(o), type)
#endif
GORT_OP_LOCAL gort_op *gort_op_free = NULL;               /* linked through vtab */
GORT_OP_LOCAL int gort_op_nfree = 0;
static newfunc gort_op_cython_new = NULL;
static void (*gort_op_never)(PyObject *) = NULL;

static void gort_op_del(gort_op *o) {                     /* every reference is None */
    Py_DECREF(o->g); Py_DECREF(o->c); Py_DECREF(o->elem);
    Py_DECREF(o->next); Py_DECREF(o->prev); Py_DECREF(o->sel);
    PyObject_GC_Del(o);
}

static void gort_op_drain(void) {
    while (gort_op_free != NULL) {
        gort_op *o = gort_op_free;
        gort_op_free = (gort_op *)o->vtab;
        gort_op_nfree--;
        PyObject_GC_UnTrack(o);
        gort_op_del(o);
    }
}

static void rt_op_dealloc(PyObject *self) {
    gort_op *o = (gort_op *)self;
    if (__builtin_expect(o->state == 0, 0)) {             /* OP_NEW */
        PyObject *type, *value, *tb;
        PyErr_Fetch(&type, &value, &tb);
        Py_SET_REFCNT(self, 1);
        gort_op_never(self);
        PyErr_Restore(type, value, tb);
        o->state = 2;                                     /* OP_DONE: warns only once */
        Py_DECREF(self);                                  /* calls this function again, unless the warning kept self */
        return;
    }
    gort_op_rest(o);                                      /* the decrefs below may run Python code and the collector */
#define GORT_OP_CLEAR(field) \
    do { \
        PyObject *old_ = o->field; \
        if (old_ != Py_None) { o->field = Py_NewRef(Py_None); Py_DECREF(old_); } \
    } while (0)
    GORT_OP_CLEAR(g); GORT_OP_CLEAR(c); GORT_OP_CLEAR(elem);
    GORT_OP_CLEAR(next); GORT_OP_CLEAR(prev); GORT_OP_CLEAR(sel);
#undef GORT_OP_CLEAR
    if (gort_op_nfree < GORT_OP_FREE && gort_tls_m != NULL) {
        o->vtab = gort_op_free;
        gort_op_free = o;
        gort_op_nfree++;
        return;
    }
    PyObject_GC_UnTrack(o);
    gort_op_del(o);
}

static PyObject *rt_op_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    gort_op *o = gort_op_free;
    if (__builtin_expect(type->tp_dealloc != rt_op_dealloc, 0)) {
        if (type->tp_basicsize != sizeof(gort_op) || (type->tp_flags & Py_TPFLAGS_HEAPTYPE))
            return gort_op_cython_new(type, args, kwargs);
        type->tp_dealloc = rt_op_dealloc;                 /* a compiled subclass, seen for the first time */
    }
    if (__builtin_expect(o != NULL, 1)) {
        gort_op_free = (gort_op *)o->vtab;
        gort_op_nfree--;
        gort_op_revive(o, type);
    } else {
        o = PyObject_GC_New(gort_op, type);
        if (o == NULL) return NULL;
        o->g = Py_NewRef(Py_None); o->c = Py_NewRef(Py_None); o->elem = Py_NewRef(Py_None);
        o->next = Py_NewRef(Py_None); o->prev = Py_NewRef(Py_None); o->sel = Py_NewRef(Py_None);
        PyObject_GC_Track(o);
    }
    o->kind = o->state = o->success = o->index = o->heapidx = 0;
    o->when = 0;
    return (PyObject *)o;                                 /* the subclass's __new__ sets vtab */
}

/* -1 with a SystemError if Op's layout is not that of gort_op.  The caller (check_layout in runtime2.py) has given each
 * field a different value. */
static inline int rt_op_check(PyObject *op) {
    gort_op *o = (gort_op *)op;
    if (Py_TYPE(op)->tp_basicsize == sizeof(gort_op) && o->kind == 1 && o->state == 2 && o->success == 3 &&
        o->index == 4 && o->heapidx == 5 && o->when == 6 && o->g == Py_None && o->c == Py_True &&
        o->elem == Py_False && o->next == op && o->prev == Py_None && o->sel == Py_Ellipsis)
        return 0;
    PyErr_SetString(PyExc_SystemError, "gort: runtime2.pxd and gort_rt.h disagree about Op's layout; build anew");
    return -1;
}

static inline void rt_set_never(void (*never)(PyObject *)) { gort_op_never = never; }

static PySendResult rt_op_am_send(PyObject *self, PyObject *arg, PyObject **result) {
    return (PySendResult)gort_sh->op_send(self, arg, result);
}

/* The exception that carries a result where there is no am_send.  We keep one object and reuse it, because an ordinary
 * StopIteration costs more to make than the rest of the operation.  Its type is a subclass only so that we can set
 * tp_dealloc.  The interpreter takes the value and drops the object at once, so the collector never sees it. */
#if PY_VERSION_HEX >= 0x030C0000
GORT_OP_LOCAL PyStopIterationObject *gort_stop_free = NULL;

static void rt_stop_dealloc(PyObject *self) {
    PyStopIterationObject *e = (PyStopIterationObject *)self;
    Py_CLEAR(e->value);
    if (e->traceback != NULL) Py_CLEAR(e->traceback);
    if (e->context != NULL) Py_CLEAR(e->context);
    if (e->cause != NULL) Py_CLEAR(e->cause);
    if (e->notes != NULL) Py_CLEAR(e->notes);
    if (e->dict != NULL) Py_CLEAR(e->dict);
    if (gort_stop_free == NULL && gort_tls_m != NULL) {
        gort_stop_free = e;
        return;
    }
    Py_CLEAR(e->args);
    PyObject_GC_Del(self);
}

static PyTypeObject rt_stop_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "StopIteration",
    .tp_basicsize = sizeof(PyStopIterationObject),
    .tp_dealloc = rt_stop_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
};

/* Raises StopIteration(result) without the argument tuple that its constructor needs.  Steals the reference. */
static void rt_stop(PyObject *result) {
    PyStopIterationObject *e = gort_stop_free;
    if (e != NULL) {
        gort_stop_free = NULL;
        (void)PyObject_INIT((PyObject *)e, &rt_stop_type);
    } else {
        e = PyObject_GC_New(PyStopIterationObject, &rt_stop_type);
        if (e == NULL) { Py_DECREF(result); return; }
        e->dict = e->notes = e->traceback = e->context = e->cause = NULL;
        e->suppress_context = 0;
        e->args = PyTuple_New(0);
    }
    e->value = result;
    PyErr_SetRaisedException((PyObject *)e);
}

static void gort_stop_drain(void) {
    if (gort_stop_free != NULL) {
        PyStopIterationObject *e = gort_stop_free;
        gort_stop_free = NULL;
        Py_CLEAR(e->args);
        PyObject_GC_Del(e);
    }
}

static int rt_stop_ready(void) {
    rt_stop_type.tp_base = (PyTypeObject *)PyExc_StopIteration;
    return PyType_Ready(&rt_stop_type);
}
#else
static void rt_stop(PyObject *result) {
    PyObject *exc = PyObject_CallNoArgs(PyExc_StopIteration);
    if (exc == NULL) { Py_DECREF(result); return; }
    Py_XSETREF(((PyStopIterationObject *)exc)->value, result);
    PyErr_SetObject(PyExc_StopIteration, exc);
    Py_DECREF(exc);
}
static void gort_stop_drain(void) {}
static int rt_stop_ready(void) { return 0; }
#endif

static inline PyObject *gort_op_next(rt_sendfunc f, PyObject *self) {
    PyObject *result = NULL;
    int r = f(self, Py_None, &result);
    if (r == PYGEN_NEXT) return result;
    if (r == PYGEN_ERROR) return NULL;
    if (result == Py_None) { Py_DECREF(result); return NULL; }
    rt_stop(result);
    return NULL;
}
static PyObject *rt_op_iternext(PyObject *self) { return gort_op_next(gort_sh->op_send, self); }

static PyObject *rt_value_iternext(PyObject *self) { return gort_op_next(gort_sh->value_send, self); }

/* chan.py's ValueOp: the slots of Op, but for the two that do the operation. */
static int gort_value_install(PyTypeObject *t) {
    static PyAsyncMethods async;
    async = *t->tp_as_async;
    async.am_send = (sendfunc)(void (*)(void))gort_sh->value_send;   /* an int of the same size as PySendResult */
    t->tp_as_async = &async;
    t->tp_iternext = rt_value_iternext;
    PyType_Modified(t);
    return 0;
}

/* An operation is its own iterator, except in an asyncio task of a gort loop. */
static PyObject *rt_op_await(PyObject *self) {
    rt_awaitfunc f = __atomic_load_n(&gort_sh->op_await, __ATOMIC_ACQUIRE);
    return f == NULL ? Py_NewRef(self) : f(self);
}
static PyObject *rt_op_self(PyObject *self, PyObject *ignored) { return rt_op_await(self); }
static PyObject *rt_op_next(PyObject *self, PyObject *ignored) {
    PyObject *r = rt_op_iternext(self);
    if (r == NULL && !PyErr_Occurred()) PyErr_SetNone(PyExc_StopIteration);
    return r;
}
/* A subclass made in Python (BlockingOp) gets its slots from methods of these names, not from the base's slots. */
static PyMethodDef rt_op_methods[] = {
    {"__await__", rt_op_self, METH_NOARGS, NULL},
    {"__iter__", rt_op_self, METH_NOARGS, NULL},
    {"__next__", rt_op_next, METH_NOARGS, NULL},
};

/* Fills the slots of the type Op.  Called before any subclass is made ready, because a subclass then copies them. */
static inline int rt_install_op(PyObject *type) {
    static PyAsyncMethods async;
    PyTypeObject *t = (PyTypeObject *)type;
    if (rt_stop_ready() < 0) return -1;
    gort_sh->value_install = gort_value_install;
    if (t->tp_as_async != NULL) async = *t->tp_as_async;
    async.am_await = rt_op_await;
    async.am_send = rt_op_am_send;
    t->tp_as_async = &async;
    t->tp_iter = rt_op_await;
    t->tp_iternext = rt_op_iternext;
    gort_op_cython_new = t->tp_new;
    t->tp_new = rt_op_new;
    for (int i = 0; i < 3; i++) {
        PyObject *method = PyDescr_NewMethod(t, &rt_op_methods[i]);
        if (method == NULL) return -1;
        int failed = PyDict_SetItemString(t->tp_dict, rt_op_methods[i].ml_name, method);
        Py_DECREF(method);
        if (failed) return -1;
    }
    PyType_Modified(t);
    return 0;
}
#endif

/* ---- attributes read from Python ------------------------------------------------------------------------------
 * Cython's getter of a field that holds an object loads the field twice: once to take a reference, once to return it.
 * Without the GIL the owner may store another object in between.  Then the first object has a reference too many, and
 * the second one too few and is freed while it is in use.  These getters load the field once.  That is enough if
 * something else keeps the object alive for as long as anybody may read the field (HACKING.md, "Races"); all other
 * fields are read under their lock. */
#ifdef Py_GIL_DISABLED
static PyObject *rt_get_field(PyObject *o, void *offset) {
    PyObject *v = __atomic_load_n((PyObject **)((char *)o + (Py_ssize_t)offset), __ATOMIC_ACQUIRE);
    return Py_NewRef(v != NULL ? v : Py_None);
}

/* Gives the type of o such getters.  To find a field's offset, it writes a value to each place in o and looks if the
 * old getter returns it.  So o must be a new object that no other thread knows, with None in every field. */
static inline int rt_load_once(PyObject *o) {
    PyTypeObject *type = Py_TYPE(o);
    int n = 0;
    for (PyGetSetDef *d = type->tp_getset; d != NULL && d->name != NULL; d++) {
        for (Py_ssize_t at = sizeof(PyObject); at + (Py_ssize_t)sizeof(PyObject *) <= type->tp_basicsize; at += sizeof(PyObject *)) {
            PyObject **field = (PyObject **)((char *)o + at);
            if (*field != Py_None) continue;
            *field = Py_Ellipsis;                         /* immortal, like None */
            PyObject *seen = d->get(o, d->closure);
            *field = Py_None;
            if (seen == NULL) return -1;
            Py_DECREF(seen);
            if (seen == Py_Ellipsis) {
                d->get = rt_get_field;
                d->closure = (void *)at;                  /* Cython's setters use none */
                n++;
                break;
            }
        }
    }
    if (n > 0) return 0;
    PyErr_Format(PyExc_SystemError, "gort: %s has no field that holds an object; build anew", type->tp_name);
    return -1;
}
#else
static inline int rt_load_once(PyObject *o) { (void)o; return 0; }
#endif

/* ---- where a go statement stands ---------------------------------------------------------------------------
 * The code object and instruction offset of the calling Python frame: a reference and an integer.  The line number is
 * computed only when a dump needs it. */
static inline PyObject *rt_caller(int *lasti) {
    PyFrameObject *f = PyEval_GetFrame();
    if (f == NULL) { *lasti = -1; Py_RETURN_NONE; }
    *lasti = PyFrame_GetLasti(f);
    return (PyObject *)PyFrame_GetCode(f);
}

/* A place of sched/predict.py as a number other than 0: an instruction of a code object; -1: where it begins. */
static inline int64_t rt_key(PyObject *code, int lasti) {
    return (int64_t)((((uint64_t)(uintptr_t)code << 15) ^ (uint64_t)(unsigned int)lasti) & INT64_MAX) | 1;
}

/* The place at which the running goroutine awaits an operation, in the innermost frame whose file is not below the folder
 * `own`.  0 where that is none of a coroutine or generator. */
static inline int64_t rt_place(PyObject *own) {
    PyFrameObject *frame = PyEval_GetFrame();
    int64_t place = 0;
    Py_XINCREF(frame);
    while (frame != NULL) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        int suspends = code->co_flags & (CO_COROUTINE | CO_GENERATOR | CO_ASYNC_GENERATOR);
        int ours = PyUnicode_Tailmatch(code->co_filename, own, 0, PY_SSIZE_T_MAX, -1) == 1;
        if (suspends && !ours) place = rt_key((PyObject *)code, PyFrame_GetLasti(frame));
        Py_DECREF(code);
        PyFrameObject *back = suspends && ours ? PyFrame_GetBack(frame) : NULL;
        Py_DECREF(frame);
        frame = back;
    }
    if (PyErr_Occurred()) PyErr_Clear();                  /* there was no memory for a frame's object */
    return place;
}

/* Makes a function with slow's name, docstring and signature that gets its arguments on the interpreter's stack; a
 * Cython function with *args and **kwargs would get a tuple and a dict.  At most one in each module, because def is
 * static. */
typedef PyObject *(*rt_fastcall)(PyObject *, PyObject **, Py_ssize_t, PyObject *);
/* To call a C function of Cython's without a look at its error.  The int: 0, no method of Python's is looked for. */
typedef int (*rt_quietly)(PyObject *, int);

static inline PyObject *rt_builtin(PyObject *slow, rt_fastcall fast) {
    static PyMethodDef def;
    PyCFunctionObject *f = (PyCFunctionObject *)slow;
    def = *f->m_ml;
    def.ml_meth = (PyCFunction)(void (*)(void))fast;
    def.ml_flags = METH_FASTCALL | METH_KEYWORDS;
    return PyCFunction_NewEx(&def, f->m_self, f->m_module);
}
static inline PyObject *rt_call(PyObject *fn, PyObject **args, Py_ssize_t nargs) {
    return PyObject_Vectorcall(fn, args, (size_t)nargs, NULL);
}
static inline PyObject *rt_vectorcall(PyObject *fn, PyObject **args, Py_ssize_t nargs, PyObject *kwnames) {
    return PyObject_Vectorcall(fn, args, (size_t)nargs, kwnames);
}
static inline PyObject *rt_tuple(PyObject **items, Py_ssize_t n) {
    PyObject *made = PyTuple_New(n);
    if (made != NULL)
        for (Py_ssize_t i = 0; i < n; i++) PyTuple_SET_ITEM(made, i, Py_NewRef(items[i]));
    return made;
}
static inline PyObject *rt_new_none(void) { return Py_NewRef(Py_None); }

/* The same for a method of a compiled class, which it replaces in the class.  Returns the slow one, for rt_call_method. */
static inline PyObject *rt_fast_method(PyObject *type, PyObject *name, rt_fastcall fast) {
    PyTypeObject *home = (PyTypeObject *)type;
    PyObject *slow = PyObject_GetAttr(type, name), *made;
    PyMethodDef *def;
    if (slow == NULL) return NULL;
    if (!Py_IS_TYPE(slow, &PyMethodDescr_Type) || (def = PyMem_Malloc(sizeof *def)) == NULL) {
        Py_DECREF(slow);
        return PyErr_Format(PyExc_SystemError, "gort: %s.%U is no method of C", home->tp_name, name);
    }
    *def = *((PyMethodDescrObject *)slow)->d_method;      /* lives as long as the type, that is, for ever */
    def->ml_meth = (PyCFunction)(void (*)(void))fast;
    def->ml_flags = METH_FASTCALL | METH_KEYWORDS;
    made = PyDescr_NewMethod(home, def);
    if (made == NULL || PyDict_SetItem(home->tp_dict, name, made) < 0) {
        Py_XDECREF(made);
        Py_DECREF(slow);
        return NULL;
    }
    Py_DECREF(made);
    PyType_Modified(home);
    return slow;
}
static inline PyObject *rt_call_method(PyObject *slow, PyObject *self, PyObject **args, Py_ssize_t nargs, PyObject *kwnames) {
    Py_ssize_t n = nargs + (kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0);
    PyObject **all = PyMem_Malloc((size_t)(n + 1) * sizeof *all), *result;
    if (all == NULL) return PyErr_NoMemory();
    all[0] = self;
    for (Py_ssize_t i = 0; i < n; i++) all[i + 1] = args[i];
    result = PyObject_Vectorcall(slow, all, (size_t)(nargs + 1), kwnames);
    PyMem_Free(all);
    return result;
}

/* ---- queues of callbacks -------------------------------------------------------------------------------------
 * A collections.deque without a look-up of its methods: its own functions are called, which take its lock where there is
 * no GIL.  What is no deque, or a subclass of it, is asked by name. */
typedef struct { PyObject *type; PyCFunction append, popleft; } rt_deque_methods;
static inline rt_deque_methods *rt_deque(void) { static rt_deque_methods of; return &of; }

static inline PyCFunction rt_method_of(PyObject *type, const char *name, int flags) {
    PyObject *found = PyObject_GetAttrString(type, name);
    PyCFunction meth = NULL;
    if (found == NULL) return NULL;
    if (Py_IS_TYPE(found, &PyMethodDescr_Type) && ((PyMethodDescrObject *)found)->d_method->ml_flags == flags)
        meth = ((PyMethodDescrObject *)found)->d_method->ml_meth;
    Py_DECREF(found);                                     /* its type keeps it */
    return meth;
}
static inline int rt_deque_learn(PyObject *type) {
    rt_deque_methods *of = rt_deque();
    of->append = rt_method_of(type, "append", METH_O);
    of->popleft = rt_method_of(type, "popleft", METH_NOARGS);
    if (PyErr_Occurred()) return -1;
    of->type = of->append != NULL && of->popleft != NULL ? Py_NewRef(type) : NULL;
    return 0;
}
static inline int rt_deque_append(PyObject *q, PyObject *item) {
    rt_deque_methods *of = rt_deque();
    PyObject *none = (PyObject *)Py_TYPE(q) == of->type ? of->append(q, item) : PyObject_CallMethod(q, "append", "O", item);
    if (none == NULL) return -1;
    Py_DECREF(none);
    return 0;
}
static inline PyObject *rt_deque_popleft(PyObject *q) {
    rt_deque_methods *of = rt_deque();
    return (PyObject *)Py_TYPE(q) == of->type ? of->popleft(q, NULL) : PyObject_CallMethod(q, "popleft", NULL);
}
static inline Py_ssize_t rt_deque_len(PyObject *q) {
    if ((PyObject *)Py_TYPE(q) != rt_deque()->type) return PyObject_Size(q);
    return __atomic_load_n(&((PyVarObject *)q)->ob_size, __ATOMIC_RELAXED);
}

static inline int rt_is_async_function(PyObject *fn) {
    if (!PyFunction_Check(fn)) return 0;
    return (((PyCodeObject *)PyFunction_GET_CODE(fn))->co_flags & CO_COROUTINE) != 0;
}
/* ---- public names --------------------------------------------------------------------------------------------
 * A compiled class is a static type.  Python takes its __module__ from tp_name and its signature from the start of
 * tp_doc, and Python code can assign neither.  The strings made here live as long as the type, that is, for ever.  A
 * second call with the same arguments (the module was reloaded) changes nothing. */
static inline int rt_set_public(PyObject *cls, PyObject *home, PyObject *signature) {
    PyTypeObject *type = (PyTypeObject *)cls;
    if (type->tp_flags & Py_TPFLAGS_HEAPTYPE)
        return PyObject_SetAttrString(cls, "__module__", home);
    const char *name = strrchr(type->tp_name, '.');
    name = name ? name + 1 : type->tp_name;
    size_t n = strlen(name);
    if (signature != Py_None && !(type->tp_doc && strncmp(type->tp_doc, name, n) == 0 && type->tp_doc[n] == '(')) {
        PyObject *doc = PyUnicode_FromFormat("%s%U\n--\n\n%s", name, signature, type->tp_doc ? type->tp_doc : "");
        const char *text = doc ? PyUnicode_AsUTF8(doc) : NULL;
        if (!text)
            return -1;
        type->tp_doc = text;
    }
    PyObject *full = PyUnicode_FromFormat("%U.%s", home, name);
    const char *text = full ? PyUnicode_AsUTF8(full) : NULL;
    if (!text)
        return -1;
    if (strcmp(text, type->tp_name) == 0)
        Py_DECREF(full);
    else
        type->tp_name = text;
    return 0;
}

#endif
