/* gort_heap.h: a table of objects, for walks over the heap: how many references to each of them a walk has seen.
 *
 * Memory is the C library's, so the table may grow while no Python object may be made.  It holds no references: no object
 * may go while the walk lasts.  What does not live here: the walks (gort_leak.h, gort_held.h).
 */
#ifndef GORT_HEAP_H
#define GORT_HEAP_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct {
    PyObject *object;
    Py_ssize_t inside;                                    /* references from objects that we know, and our own */
    int live;                                             /* what it means is the walk's affair */
} rt_node;

typedef struct {
    rt_node *nodes;
    size_t n, room;
    size_t *slots;                                        /* open addressing: the place in nodes + 1 */
    size_t nslots;
    size_t *todo;                                         /* live nodes whose references are to be followed */
    size_t ntodo;
    int failed;                                           /* no memory */
} rt_heap;

static size_t rt_heap_slot(const rt_heap *h, PyObject *object) {
    size_t at = (size_t)(((uint64_t)(uintptr_t)object >> 4) * 0x9E3779B97F4A7C15ULL >> 20) & (h->nslots - 1);
    while (h->slots[at] && h->nodes[h->slots[at] - 1].object != object) at = (at + 1) & (h->nslots - 1);
    return at;
}

static int rt_heap_grow(rt_heap *h) {
    if (h->n == h->room) {
        size_t room = h->room ? 2 * h->room : 1024;
        rt_node *nodes = (rt_node *)realloc(h->nodes, room * sizeof *nodes);
        if (nodes == NULL) return -1;
        h->nodes = nodes;
        h->room = room;
    }
    if (2 * (h->n + 1) > h->nslots) {
        size_t *before = h->slots, nslots = h->nslots ? 2 * h->nslots : 4096;
        h->slots = (size_t *)calloc(nslots, sizeof *h->slots);
        if (h->slots == NULL) { h->slots = before; return -1; }
        h->nslots = nslots;
        for (size_t i = 0; i < h->n; i++) h->slots[rt_heap_slot(h, h->nodes[i].object)] = i + 1;
        free(before);
    }
    return 0;
}

/* The node of an object, made where there is none; NULL, and h->failed, where there is no memory. */
static rt_node *rt_heap_node(rt_heap *h, PyObject *object) {
    if (h->failed || rt_heap_grow(h) < 0) { h->failed = 1; return NULL; }
    size_t at = rt_heap_slot(h, object);
    if (h->slots[at] == 0) {
        rt_node fresh = { object, 0, 0 };
        h->nodes[h->n] = fresh;
        h->slots[at] = ++h->n;
    }
    return &h->nodes[h->slots[at] - 1];
}
#endif
