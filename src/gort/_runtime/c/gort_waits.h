/* gort_waits.h: the sums of the block and mutex profiles: for each stack how many waits, and for how long.
 *
 * What lives here: one table for each of the two profiles, which only grows, as Go's (runtime/mprof.go).  What does not:
 * which waits are counted, and when (core/contention.py).
 *
 * Invariants: no Python code runs here and no object is made, so a wait may be counted on the scheduler's stack.  A table
 * holds a reference to each code in it.  `busy` guards a table where there is no GIL; whoever holds it allocates at most.
 */
#ifndef GORT_WAITS_H
#define GORT_WAITS_H
#include "gort_rt.h"
#ifdef GORT_WAITS_OWNER
#include "gort_frames.h"
#include "gort_seqs.h"

typedef struct { double count, ns; } rt_wait_sum;
static struct { int busy; rt_seqs *stacks; rt_wait_sum *sums; int room; } rt_waits[2];

#ifdef Py_GIL_DISABLED
static void rt_waits_lock(int which) { while (__atomic_exchange_n(&rt_waits[which].busy, 1, __ATOMIC_ACQUIRE)) sched_yield(); }
static void rt_waits_unlock(int which) { __atomic_store_n(&rt_waits[which].busy, 0, __ATOMIC_RELEASE); }
#else
static inline void rt_waits_lock(int which) { (void)which; }
static inline void rt_waits_unlock(int which) { (void)which; }
#endif

/* Adds to the sums of a stack: that of the suspended coroutine `coro`, or with NULL this thread's.  reason: why it waited;
 * stacks with different reasons count apart.  Where there is no memory nothing is counted. */
static void rt_waits_add(int which, PyObject *coro, int reason, double count, double ns) {
    uintptr_t words[2 * RT_STACK_MAX + 1];
    int n = coro != NULL ? rt_frames_awaited(coro, words) : rt_frames_mine(NULL, words);
    words[n] = (uintptr_t)reason;
    rt_waits_lock(which);
    rt_seqs *stacks = rt_waits[which].stacks;
    if (stacks == NULL) stacks = rt_waits[which].stacks = rt_seqs_new();
    if (stacks != NULL && stacks->count == rt_waits[which].room) {   /* first, so that no stack is without sums */
        int room = 2 * stacks->count + 32;
        rt_wait_sum *sums = (rt_wait_sum *)realloc(rt_waits[which].sums, (size_t)room * sizeof *sums);
        if (sums != NULL) {
            rt_waits[which].sums = sums;
            rt_waits[which].room = room;
        }
    }
    if (stacks != NULL && stacks->count < rt_waits[which].room) {
        int before = stacks->count, number = rt_seqs_number(stacks, words, n + 1);
        if (number >= 0) {
            rt_wait_sum *sum = &rt_waits[which].sums[number];
            if (number == before) {
                for (int i = 0; i < n; i += 2) Py_INCREF((PyObject *)words[i]);
                sum->count = sum->ns = 0;
            }
            sum->count += count;
            sum->ns += ns;
        }
    }
    rt_waits_unlock(which);
}

/* All sums: a list of (stack, reason, count, ns); a stack is a tuple of code, offset, code, offset, …, innermost first. */
static PyObject *rt_waits_sums(int which) {
    rt_seqs *from = NULL;
    uintptr_t *words = NULL;
    rt_seq *seqs = NULL;
    rt_wait_sum *sums = NULL;
    int count = 0, failed = 0;
    rt_waits_lock(which);
    if ((from = rt_waits[which].stacks) != NULL && (count = from->count) != 0) {
        words = (uintptr_t *)malloc(from->used * sizeof *words);
        seqs = (rt_seq *)malloc((size_t)count * sizeof *seqs);
        sums = (rt_wait_sum *)malloc((size_t)count * sizeof *sums);
        failed = words == NULL || seqs == NULL || sums == NULL;
        if (!failed) {
            memcpy(words, from->words, from->used * sizeof *words);
            memcpy(seqs, from->seqs, (size_t)count * sizeof *seqs);
            memcpy(sums, rt_waits[which].sums, (size_t)count * sizeof *sums);
        }
    }
    rt_waits_unlock(which);                               /* the codes stay: the table only grows */
    PyObject *list = PyList_New(0);
    failed = failed || list == NULL;
    for (int i = 0; i < count && !failed; i++) {
        int n = seqs[i].n - 1;
        PyObject *stack = PyTuple_New(n), *entry = NULL;
        failed = stack == NULL;
        for (int j = 0; j < n && !failed; j++) {
            uintptr_t word = words[seqs[i].at + (size_t)j];
            PyObject *item = j % 2 ? PyLong_FromLong((long)(int)word) : Py_NewRef((PyObject *)word);
            if (item == NULL) failed = 1;
            else PyTuple_SET_ITEM(stack, j, item);
        }
        if (!failed) entry = Py_BuildValue("(Oidd)", stack, (int)words[seqs[i].at + (size_t)n], sums[i].count, sums[i].ns);
        failed = entry == NULL || PyList_Append(list, entry) < 0;
        Py_XDECREF(entry);
        Py_XDECREF(stack);
    }
    free(words);
    free(seqs);
    free(sums);
    if (failed) { Py_XDECREF(list); return PyErr_Occurred() ? NULL : PyErr_NoMemory(); }
    return list;
}

/* In a forked child, where only this thread goes on: another may have held a table, which is then left as it is. */
static void rt_waits_forked(void) {
    for (int which = 0; which < 2; which++) {
        rt_waits[which].busy = rt_waits[which].room = 0;
        rt_waits[which].stacks = NULL;
        rt_waits[which].sums = NULL;
    }
}
#endif
#endif
