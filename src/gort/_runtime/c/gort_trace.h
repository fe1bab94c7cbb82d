/* gort_trace.h: the buffers of the execution trace.
 *
 * What lives here: one buffer for each thread that records events, the numbers of the stacks in it, and where full chunks
 * go: to the spool, a file, or to the ring of the flight recorder.  What does not: when an event is recorded
 * (core/tracing.py), and what a trace file looks like (watch/tracemodel.py).
 *
 * An event is 32 bytes in the order in which its thread wrote it.  Its time orders it among those of other threads: a
 * goroutine passes from one thread to another through a lock, so the second reads the clock after the first.
 *
 * Invariants: no Python code runs here and no object is made, so an event may be recorded on the scheduler's stack.  A
 * thread writes into its own buffer alone.  With the GIL nobody else can be there meanwhile.  Without it a flag in the
 * buffer keeps out the one reader there is, who copies it while the trace goes on.  A buffer is never freed, because an M
 * keeps its address: the next session uses it again, and `session` and `tid` tell whose it is now.
 */
#ifndef GORT_TRACE_H
#define GORT_TRACE_H
#include "gort_rt.h"
#ifdef GORT_TRACE_OWNER
#include "gort_frames.h"
#include "gort_seqs.h"
#include <errno.h>
#if defined(__x86_64__) && defined(__linux__)
#include <x86intrin.h>
#define GORT_TSC 1
#endif

#define RT_CHUNK_EVENTS 2047                              /* so a chunk is 64 KiB */
enum { RT_NO_STACK = 0, RT_MY_STACK = 1, RT_CORO_STACK = 2 };

typedef struct { int64_t time, goid, arg; int32_t stack; int16_t p; uint8_t kind, run; } rt_event;
typedef struct rt_chunk {
    int64_t buffer, tid, n;
    struct rt_chunk *next;                                /* in the ring: the next younger one */
    rt_event events[RT_CHUNK_EVENTS];
} rt_chunk;
typedef struct rt_tracebuf {
    struct rt_tracebuf *next;
    int64_t session, number, tid;
    int busy;                                             /* without the GIL: its thread or the reader is in it */
    rt_chunk *chunk;
    rt_seqs *stacks;                                      /* holds a reference to each code in it */
} rt_tracebuf;

/* `busy` guards the list of buffers and the ring; the rest is written while no session is on, or is a hint. */
static struct {
    int on, busy, keep, error, outside;
    int64_t session, buffers, lost, spooled;
    int fd;
    rt_tracebuf *all, *spare;
    rt_chunk *oldest, *newest;
    int64_t ringbytes, maxbytes, minage, cutoff;
    int ticks;                                            /* times are the processor's and not the system's */
    int64_t zero, zerons;                                 /* one moment on both clocks */
} rt_tr = { 0, 0, 0, 0, 0, 1, 0, 0, 0, -1, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0 };

/* The time of an event.  The processor's counter costs a quarter of the system's clock.  It is taken where the kernel itself
 * goes by it (rt_trace_clock): then it runs evenly, and is the same on all processors.  Without the GIL the fence keeps
 * it from being read before the lock is held by which the goroutine came here; the GIL's own handover takes longer than
 * any processor reads ahead. */
static inline int64_t rt_trace_now(void) {
#ifdef GORT_TSC
    if (rt_tr.ticks) {
#ifdef Py_GIL_DISABLED
        _mm_lfence();
#endif
        return (int64_t)__rdtsc();
    }
#endif
    return rt_nanotime();
}

/* Chooses the clock, once in a process, before the first event. */
static void rt_trace_clock(int ticks) {
    if (rt_tr.zero != 0) return;
#ifdef GORT_TSC
    rt_tr.ticks = ticks;
#endif
    (void)ticks;
    rt_tr.zerons = rt_nanotime();
    rt_tr.zero = rt_trace_now();
}

/* How many units of rt_trace_now a ns has, as far as it is known by now; at least a millisecond after rt_trace_clock. */
static double rt_trace_rate(void) {
    int64_t ns;
    while ((ns = rt_nanotime() - rt_tr.zerons) < 1000000) { }
    return rt_tr.ticks ? (double)(rt_trace_now() - rt_tr.zero) / (double)ns : 1.0;
}

#ifdef Py_GIL_DISABLED
static void rt_busy(int *flag) { while (__atomic_exchange_n(flag, 1, __ATOMIC_ACQUIRE)) sched_yield(); }
static void rt_idle(int *flag) { __atomic_store_n(flag, 0, __ATOMIC_RELEASE); }
#else
static inline void rt_busy(int *flag) { (void)flag; }
static inline void rt_idle(int *flag) { (void)flag; }
#endif

/* A buffer for this thread; NULL where there is no memory. */
static rt_tracebuf *rt_trace_buffer(int64_t tid) {
    rt_busy(&rt_tr.busy);
    rt_tracebuf *buf = rt_tr.spare;
    if (buf != NULL) rt_tr.spare = buf->next;
    else buf = (rt_tracebuf *)calloc(1, sizeof *buf);
    if (buf != NULL) {
        rt_busy(&buf->busy);
        buf->session = rt_tr.session;
        buf->number = ++rt_tr.buffers;
        buf->tid = tid;
        buf->next = rt_tr.all;
        rt_tr.all = buf;
        rt_idle(&buf->busy);
    }
    rt_idle(&rt_tr.busy);
    return buf;
}

/* Drops chunks of the ring that are too old or too many. */
static void rt_trace_evict(int64_t now) {
    while (rt_tr.oldest != NULL) {
        rt_chunk *c = rt_tr.oldest;
        int64_t last = c->events[c->n - 1].time;
        if (rt_tr.ringbytes <= rt_tr.maxbytes && now - last <= rt_tr.minage) return;
        rt_tr.oldest = c->next;
        if (rt_tr.oldest == NULL) rt_tr.newest = NULL;
        rt_tr.ringbytes -= c->n * (int64_t)sizeof(rt_event);
        if (last > rt_tr.cutoff) rt_tr.cutoff = last;
        free(c);
    }
}

/* Puts buf's full chunk away. */
static void rt_trace_flush(rt_tracebuf *buf, int64_t now) {
    rt_chunk *c = buf->chunk;
    if (rt_tr.fd >= 0) {
        const char *at = (const char *)c;
        size_t left = offsetof(rt_chunk, events) + (size_t)c->n * sizeof(rt_event);
        int64_t where = __atomic_fetch_add(&rt_tr.spooled, (int64_t)left, __ATOMIC_RELAXED);
        while (left != 0) {
            ssize_t wrote = pwrite(rt_tr.fd, at, left, (off_t)where);
            if (wrote < 0 && errno == EINTR) continue;
            if (wrote <= 0) { rt_tr.error = errno ? errno : EIO; break; }
            at += wrote;
            where += wrote;
            left -= (size_t)wrote;
        }
    }
    if (!rt_tr.keep) { c->n = 0; return; }
    c->next = NULL;
    rt_busy(&rt_tr.busy);
    if (rt_tr.newest != NULL) rt_tr.newest->next = c;
    else rt_tr.oldest = c;
    rt_tr.newest = c;
    rt_tr.ringbytes += c->n * (int64_t)sizeof(rt_event);
    rt_trace_evict(now);
    rt_idle(&rt_tr.busy);
    buf->chunk = NULL;
}

/* The number of a stack of n words, from 1; 0 for none. */
static int rt_trace_number(rt_tracebuf *buf, const uintptr_t *words, int n) {
    if (n == 0 || (buf->stacks == NULL && (buf->stacks = rt_seqs_new()) == NULL)) return 0;
    int before = buf->stacks->count, number = rt_seqs_number(buf->stacks, words, n);
    if (number == before) for (int i = 0; i < n; i += 2) Py_INCREF((PyObject *)words[i]);
    return number + 1;                                    /* -1, no memory: 0 */
}

/* The code of what a goroutine runs: a coroutine, or a function or method; NULL if it has none. */
static PyObject *rt_trace_code(PyObject *fn) {
    if (fn == NULL || fn == Py_None) return NULL;
    if (PyCoro_CheckExact(fn)) {
#if PY_VERSION_HEX < 0x030C0000
        return (PyObject *)((PyCoroObject *)fn)->cr_code;
#elif defined(GORT_FRAMES_READ)
        _PyInterpreterFrame *frame = rt_frame_suspended(fn);
        return frame == NULL ? NULL : (PyObject *)rt_frame_code(frame);
#else
        return NULL;
#endif
    }
    if (PyMethod_Check(fn)) fn = PyMethod_GET_FUNCTION(fn);
    return PyFunction_Check(fn) ? PyFunction_GET_CODE(fn) : NULL;
}

/* Records an event.  how: whose stack it gets, RT_CORO_STACK: that of `of`, RT_MY_STACK: this thread's, down to
 * `of` if it is a coroutine; begins: what the goroutine that it makes will
 * run, whose stack's number becomes arg; outside: what stands in the place of a stack's number, if it gets none. */
static void rt_trace_put(void **slot, int64_t tid, int kind, int run, int p, int64_t goid, int64_t arg, int how,
                         PyObject *of, PyObject *begins, int32_t outside) {
    rt_tracebuf *buf = (rt_tracebuf *)*slot;
    uintptr_t words[2 * RT_STACK_MAX];
    if (buf == NULL || buf->session != rt_tr.session || buf->tid != tid) {
        if (!rt_tr.on || (buf = rt_trace_buffer(tid)) == NULL) return;
        *slot = buf;
    }
    rt_busy(&buf->busy);
    if (!rt_tr.on || buf->session != rt_tr.session) { rt_idle(&buf->busy); return; }
    if (buf->chunk != NULL && buf->chunk->n == RT_CHUNK_EVENTS) rt_trace_flush(buf, rt_trace_now());
    if (buf->chunk == NULL) {
        buf->chunk = (rt_chunk *)malloc(sizeof *buf->chunk);
        if (buf->chunk == NULL) { rt_tr.lost++; rt_idle(&buf->busy); return; }
        buf->chunk->n = 0;
        buf->chunk->buffer = buf->number;
        buf->chunk->tid = tid;
    }
    rt_event *e = &buf->chunk->events[buf->chunk->n];
    e->stack = how == RT_NO_STACK ? outside
        : rt_trace_number(buf, words, how == RT_MY_STACK ? rt_frames_mine(of, words) : rt_frames_awaited(of, words));
    if (begins != NULL) {
        words[0] = (uintptr_t)rt_trace_code(begins);
        words[1] = (uintptr_t)-1;
        arg = words[0] ? rt_trace_number(buf, words, 2) : 0;
    }
    e->time = rt_trace_now();
    e->goid = goid;
    e->arg = arg;
    e->p = (int16_t)p;
    e->kind = (uint8_t)kind;
    e->run = (uint8_t)run;
    buf->chunk->n++;
    rt_idle(&buf->busy);
}

/* One buffer for all threads that are no Ms: the thread's number is in the event. */
static void *rt_trace_outside_slot = NULL;
static void rt_trace_outside(int kind, int run, int p, int64_t goid, int64_t arg, int64_t tid, PyObject *begins) {
    rt_busy(&rt_tr.outside);                              /* so that two of them do not make it at once */
    rt_trace_put(&rt_trace_outside_slot, 0, kind, run, p, goid, arg, RT_NO_STACK, NULL, begins, (int32_t)tid);
    rt_idle(&rt_tr.outside);
}

static int64_t rt_trace_begin(int fd, int64_t maxbytes, int64_t minage, int keep) {
    if (!rt_tr.on) { rt_tr.lost = 0; rt_tr.cutoff = 0; }
    if (fd >= 0) { rt_tr.fd = fd; rt_tr.spooled = 0; rt_tr.error = 0; }
    if (keep) { rt_tr.maxbytes = maxbytes; rt_tr.minage = (int64_t)((double)minage * rt_trace_rate()); rt_tr.cutoff = 0; rt_tr.keep = 1; }
    rt_tr.on = 1;
    return rt_trace_now();
}

static void rt_trace_drop_ring(void) {
    rt_busy(&rt_tr.busy);
    rt_chunk *c = rt_tr.oldest;
    rt_tr.oldest = rt_tr.newest = NULL;
    rt_tr.ringbytes = 0;
    rt_tr.keep = 0;
    rt_idle(&rt_tr.busy);
    while (c != NULL) { rt_chunk *next = c->next; free(c); c = next; }
}

/* Ends the session: the buffers go to those that can be used again. */
static void rt_trace_end(void) {
    rt_tr.on = 0;
    rt_busy(&rt_tr.busy);
    rt_tr.session++;
    rt_tracebuf *all = rt_tr.all;
    rt_tr.all = NULL;
    rt_tr.fd = -1;
    rt_idle(&rt_tr.busy);
    rt_trace_drop_ring();
    while (all != NULL) {
        rt_tracebuf *buf = all, *next = buf->next;
        rt_busy(&buf->busy);
        rt_seqs *stacks = buf->stacks;
        free(buf->chunk);
        buf->chunk = NULL;
        buf->stacks = NULL;
        buf->session = 0;
        rt_idle(&buf->busy);
        for (int i = 0; stacks != NULL && i < stacks->count; i++)
            for (int j = 0; j < stacks->seqs[i].n; j += 2) Py_DECREF((PyObject *)stacks->words[stacks->seqs[i].at + (size_t)j]);
        rt_seqs_free(stacks);
        rt_busy(&rt_tr.busy);
        buf->next = rt_tr.spare;
        rt_tr.spare = buf;
        rt_idle(&rt_tr.busy);
        all = next;
    }
}

static int rt_trace_append_chunk(PyObject *list, const rt_chunk *c) {
    PyObject *entry = Py_BuildValue("(LLy#)", (long long)c->buffer, (long long)c->tid, (const char *)c->events,
                                    (Py_ssize_t)(c->n * (int64_t)sizeof(rt_event)));
    if (entry == NULL) return -1;
    int failed = PyList_Append(list, entry);
    Py_DECREF(entry);
    return failed;
}

/* A copy of the chunks that are in memory: (number of the buffer, thread, events), those of one buffer in order. */
static PyObject *rt_trace_chunks(void) {
    PyObject *list = PyList_New(0);
    rt_chunk *copies = NULL, **tail = &copies, *c;
    int failed = list == NULL;
    rt_busy(&rt_tr.busy);
    /* First the buffers' own chunks: one that goes to the ring afterwards is copied twice, and not missed. */
    rt_chunk *partial = NULL;
    for (rt_tracebuf *buf = rt_tr.all; buf != NULL && !failed; buf = buf->next) {
        c = (rt_chunk *)malloc(sizeof *c);
        if (c == NULL) { failed = 1; break; }
        c->n = 0;
        rt_idle(&rt_tr.busy);                             /* its thread may be about to take it, in rt_trace_flush */
        rt_busy(&buf->busy);
        if (buf->chunk != NULL) memcpy(c, buf->chunk, offsetof(rt_chunk, events) + (size_t)buf->chunk->n * sizeof(rt_event));
        rt_idle(&buf->busy);
        rt_busy(&rt_tr.busy);
        c->next = partial;
        partial = c;
    }
    for (c = rt_tr.oldest; c != NULL && !failed; c = c->next) {
        rt_chunk *copy = (rt_chunk *)malloc(sizeof *copy);
        if (copy == NULL) { failed = 1; break; }
        memcpy(copy, c, offsetof(rt_chunk, events) + (size_t)c->n * sizeof(rt_event));
        copy->next = NULL;
        *tail = copy;
        tail = &copy->next;
    }
    rt_idle(&rt_tr.busy);
    *tail = partial;
    for (c = copies; c != NULL; ) {
        rt_chunk *next = c->next;
        if (!failed && c->n != 0) failed = rt_trace_append_chunk(list, c) < 0;
        free(c);
        c = next;
    }
    if (failed) { Py_XDECREF(list); return PyErr_Occurred() ? NULL : PyErr_NoMemory(); }
    return list;
}

/* Of each buffer its number and its stacks, each a tuple of code, offset, code, offset, …; the innermost first. */
static PyObject *rt_trace_stacks(void) {
    PyObject *dict = PyDict_New();
    if (dict == NULL) return NULL;
    rt_busy(&rt_tr.busy);
    rt_tracebuf *buf = rt_tr.all;
    rt_idle(&rt_tr.busy);
    for (; buf != NULL; buf = buf->next) {                /* only rt_trace_end takes buffers off the list */
        uintptr_t *words = NULL;
        rt_seq *seqs = NULL;
        int count = 0;
        rt_busy(&buf->busy);
        if (buf->stacks != NULL && (count = buf->stacks->count) != 0) {
            words = (uintptr_t *)malloc(buf->stacks->used * sizeof *words);
            seqs = (rt_seq *)malloc((size_t)count * sizeof *seqs);
            if (words != NULL && seqs != NULL) {
                memcpy(words, buf->stacks->words, buf->stacks->used * sizeof *words);
                memcpy(seqs, buf->stacks->seqs, (size_t)count * sizeof *seqs);
            }
        }
        rt_idle(&buf->busy);
        PyObject *list = PyList_New(0), *key = PyLong_FromLongLong(buf->number);
        int failed = list == NULL || key == NULL || (count != 0 && (words == NULL || seqs == NULL));
        for (int i = 0; i < count && !failed; i++) {
            PyObject *stack = PyTuple_New(seqs[i].n);
            failed = stack == NULL;
            for (int j = 0; j < seqs[i].n && !failed; j++) {
                uintptr_t word = words[seqs[i].at + (size_t)j];
                PyObject *item = j % 2 ? PyLong_FromLong((long)(int)word) : Py_NewRef((PyObject *)word);
                if (item == NULL) failed = 1;
                else PyTuple_SET_ITEM(stack, j, item);
            }
            failed = failed || PyList_Append(list, stack) < 0;
            Py_XDECREF(stack);
        }
        failed = failed || PyDict_SetItem(dict, key, list) < 0;
        Py_XDECREF(list);
        Py_XDECREF(key);
        free(words);
        free(seqs);
        if (failed) { Py_DECREF(dict); return PyErr_Occurred() ? NULL : PyErr_NoMemory(); }
    }
    return dict;
}

/* In a forked child, where only this thread goes on: another may have left a flag behind.  What was recorded is not freed. */
static void rt_trace_forked(void) {
    rt_tr.on = rt_tr.busy = rt_tr.keep = rt_tr.outside = 0;
    rt_tr.session++;
    rt_tr.fd = -1;
    rt_tr.all = rt_tr.spare = NULL;
    rt_tr.oldest = rt_tr.newest = NULL;
    rt_tr.ringbytes = 0;
}

static int64_t rt_trace_zero(void) { return rt_tr.zero; }
static int64_t rt_trace_zerons(void) { return rt_tr.zerons; }
static void rt_trace_close_spool(void) { rt_tr.fd = -1; }
static int64_t rt_trace_lost(void) { return rt_tr.lost; }
static int64_t rt_trace_cutoff(void) { return rt_tr.cutoff; }
static int64_t rt_trace_spooled(void) { return rt_tr.spooled; }
static int rt_trace_error(void) { return rt_tr.error; }
#endif
#endif
