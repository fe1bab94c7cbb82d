/* gort_leak.h: which goroutines nothing that can still run refers to.
 *
 * What lives here: the walk over the heap that Go's collector makes for its goroutine leak profile (runtime/mgc.go,
 * findGoroutineLeaks), made with what CPython's collector has.  What does not: which goroutines wait, and what is done
 * with those that are found (core/leaks.py).
 *
 * An object with a reference that comes from none of the objects that we know is a root: a thread's running frame or C
 * has it.  To know, count for each object the references from all others (tp_traverse) and compare with its reference
 * count.  Then mark what can be reached from the roots, but not through the runtime's own list of all goroutines.
 *
 * Invariants: while this runs the GIL is held, no Python object is made and no reference changes, so all counts are of one
 * moment.  What is doubtful counts as a reference from outside: an object that a type's tp_traverse forgets makes a root.
 * So a goroutine may be missed, but none is found that something can still wake. */
#ifndef GORT_LEAK_H
#define GORT_LEAK_H
#include "gort_heap.h"

static int rt_heap_count(PyObject *object, void *heap) {
    if (!PyObject_IS_GC(object)) return 0;                /* it refers to nothing */
    rt_node *node = rt_heap_node((rt_heap *)heap, object);
    if (node == NULL) return 1;
    node->inside++;
    return 0;
}

static int rt_heap_mark(PyObject *object, void *heap) {
    rt_heap *h = (rt_heap *)heap;
    size_t at = PyObject_IS_GC(object) ? h->slots[rt_heap_slot(h, object)] : 0;
    if (at && !h->nodes[at - 1].live) {
        h->nodes[at - 1].live = 1;
        h->todo[h->ntodo++] = at - 1;
    }
    return 0;
}

static void rt_heap_traverse(rt_heap *h, size_t i, visitproc visit) {
    PyObject *object = h->nodes[i].object;
    traverseproc traverse = Py_TYPE(object)->tp_traverse;
    if (traverse != NULL) traverse(object, visit, h);
}

/* A list with True for each object of `asked`, a list, that cannot be reached from a root.  objects: a list of all that
 * the collector knows; both lists hold one reference to each object.  `apart`: a list whose references do not count.
 * Raises MemoryError. */
static PyObject *rt_unreachable(PyObject *objects, PyObject *asked, PyObject *apart) {
    rt_heap heap = { NULL, 0, 0, NULL, 0, NULL, 0, 0 }, *h = &heap;
    Py_ssize_t n = PyList_GET_SIZE(asked);
    PyObject *found = PyList_New(n);                      /* now: later nothing may be made */
    if (found == NULL) return NULL;
    for (Py_ssize_t i = 0; i < n; i++) PyList_SET_ITEM(found, i, Py_NewRef(Py_False));
    for (int lists = 0; lists < 2; lists++) {
        PyObject *list = lists ? asked : objects;
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list) && !h->failed; i++) {
            rt_node *node = rt_heap_node(h, PyList_GET_ITEM(list, i));
            if (node != NULL) node->inside++;
        }
    }
    for (size_t i = 0; i < h->n && !h->failed; i++) {     /* h->n grows: containers that the collector does not track */
        PyObject *object = h->nodes[i].object;
        if (object != asked && object != objects && object != found) rt_heap_traverse(h, i, rt_heap_count);
    }
    h->todo = h->failed ? NULL : (size_t *)malloc((h->n + 1) * sizeof *h->todo);
    if (h->todo != NULL) {
        for (size_t i = 0; i < h->n; i++)
            if (Py_REFCNT(h->nodes[i].object) > h->nodes[i].inside) rt_heap_mark(h->nodes[i].object, h);
        while (h->ntodo) {
            size_t i = h->todo[--h->ntodo];
            PyObject *object = h->nodes[i].object;
            if (object != asked && object != objects && object != apart && object != found)
                rt_heap_traverse(h, i, rt_heap_mark);
        }
        for (Py_ssize_t i = 0; i < n; i++)
            if (!h->nodes[h->slots[rt_heap_slot(h, PyList_GET_ITEM(asked, i))] - 1].live)
                PyList_SetItem(found, i, Py_NewRef(Py_True));
    } else {
        Py_CLEAR(found);
        PyErr_NoMemory();
    }
    free(h->nodes);
    free(h->slots);
    free(h->todo);
    return found;
}
#endif
