/* gort_held.h: what the frames of suspended goroutines hold in memory, and nothing else does.
 *
 * What lives here: the walk from a goroutine's frames over what only they refer to, and the sums of it.  What does not:
 * which goroutines are walked, and the text of the profile (core/held.py, watch/profiles.py); what a frame looks like
 * (gort_frames.h).
 *
 * An object is held by the frames if all its references come from the frames or from objects that they hold.  So each
 * object that a frame refers to is counted how often it has been seen, and belongs to the frames once that is its reference
 * count; then what it refers to is looked at, too.  One table serves all goroutines of a profile, so what several of them
 * share is found with the last of them, and is charged to that one.
 *
 * Invariants: no other thread runs Python meanwhile (rt_world_stopped), no Python code runs, no reference changes.  What is
 * doubtful is not counted: a reference that we do not see makes an object somebody else's.  Circles are not found: the
 * reference that closes one is never seen before the object belongs to the frames.
 *
 * Rejected: sys.getsizeof (it calls `__sizeof__`, which may be the program's); a walk over the whole heap as gort_leak.h
 * makes it, which would find circles too, but takes half a second for a million objects, whoever holds them.
 */
#ifndef GORT_HELD_H
#define GORT_HELD_H
#include "gort_heap.h"
#include "gort_seqs.h"

#ifdef GORT_HELD_OWNER                                    /* only core/held.py */
#include "gort_frames.h"

#define RT_HELD_FRAME (-1)                                /* in the place of a variable: the coroutine with its frame, */
#define RT_HELD_FUNCTION (-2)                             /* the function that it runs */
#define RT_SIZED_MAX 24
#define RT_IMMORTAL (1 << 28)                             /* more references than an object can have that is not immortal */

/* Objects of one type, that one variable holds in the frames of a kind: those of one stack, so many frames from the
 * outermost. */
typedef struct { PyTypeObject *type; int64_t stack, depth, place, objects, bytes; } rt_holding;

typedef struct {
    rt_heap heap;                                         /* node.live: it belongs to the frames */
    rt_seqs *keys;                                        /* numbers the holdings */
    rt_holding *found;
    int room, failed;
    int64_t stack, depth, place;                          /* where the walk is */
    PyTypeObject *type;                                   /* of the object in that place */
    PyObject **todo;
    size_t ntodo, todoroom;
    struct { PyTypeObject *type; PyCFunction size; } sized[RT_SIZED_MAX];
    int nsized;
} rt_held;

static void rt_held_free(rt_held *h) {
    if (h == NULL) return;
    for (int i = 0; h->keys != NULL && i < h->keys->count; i++) Py_XDECREF((PyObject *)h->found[i].type);
    for (int i = 0; i < h->nsized; i++) Py_DECREF(h->sized[i].type);
    rt_seqs_free(h->keys);
    free(h->heap.nodes);
    free(h->heap.slots);
    free(h->found);
    free(h->todo);
    free(h);
}

/* types: a list of types of C's whose `__sizeof__` neither calls Python nor takes a lock.  NULL where there is no memory. */
static rt_held *rt_held_new(PyObject *types) {
    rt_held *h = (rt_held *)calloc(1, sizeof *h);
    if (h == NULL || (h->keys = rt_seqs_new()) == NULL) { free(h); return NULL; }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(types) && h->nsized < RT_SIZED_MAX; i++) {
        PyObject *type = PyList_GET_ITEM(types, i);
        PyObject *method = PyType_Check(type) ? PyObject_GetAttrString(type, "__sizeof__") : NULL;
        if (method == NULL) PyErr_Clear();
        else if (Py_IS_TYPE(method, &PyMethodDescr_Type) && ((PyMethodDescrObject *)method)->d_method->ml_flags == METH_NOARGS) {
            h->sized[h->nsized].type = (PyTypeObject *)Py_NewRef(type);
            h->sized[h->nsized++].size = ((PyMethodDescrObject *)method)->d_method->ml_meth;
        }
        Py_XDECREF(method);                               /* the type holds it */
    }
    return h;
}

/* What the table of a dict takes about, by the number of its entries: two of three places are used at most. */
static Py_ssize_t rt_held_dict_size(Py_ssize_t used) {
    Py_ssize_t places = 8;
    while (places * 2 / 3 < used) places *= 2;
    return used == 0 ? 0 : 32 + places * (places > 0x8000 ? 4 : places > 0x80 ? 2 : 1) + places * 2 / 3 * 24;
}

/* The bytes of an object itself. */
static Py_ssize_t rt_held_size(const rt_held *h, PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    Py_ssize_t size = type->tp_basicsize;
#ifndef Py_GIL_DISABLED
    if (PyType_IS_GC(type)) size += 2 * (Py_ssize_t)sizeof(void *);  /* the collector's head */
#endif
    if (PyCoro_CheckExact(object) || PyGen_CheckExact(object) || PyAsyncGen_CheckExact(object)) {
        _PyInterpreterFrame *frame = rt_frame_suspended(object);
        PyCodeObject *code = frame == NULL ? NULL : rt_frame_code(frame);
        return code == NULL ? size : size + (code->co_nlocalsplus + code->co_stacksize) * (Py_ssize_t)sizeof(PyObject *);
    }
    for (PyTypeObject *base = type; base != NULL && base != &PyBaseObject_Type; base = base->tp_base)
        for (int i = 0; i < h->nsized; i++)
            if (h->sized[i].type == base) {
                PyObject *told = h->sized[i].size(object, NULL);
                Py_ssize_t its = told == NULL ? -1 : PyLong_AsSsize_t(told);
                Py_XDECREF(told);
                if (its >= 0) return size - type->tp_basicsize + its;
                PyErr_Clear();
            }
    if (PyDict_Check(object)) return size + rt_held_dict_size(((PyDictObject *)object)->ma_used);
    if (PyList_Check(object)) return size + ((PyListObject *)object)->allocated * (Py_ssize_t)sizeof(PyObject *);
    if (PyByteArray_Check(object)) return size + ((PyByteArrayObject *)object)->ob_alloc;
    if (PyAnySet_Check(object)) {
        PySetObject *set = (PySetObject *)object;
        return set->table == set->smalltable ? size : size + (set->mask + 1) * (Py_ssize_t)sizeof(setentry);
    }
    if (PyUnicode_Check(object)) {
        Py_ssize_t head = (Py_ssize_t)(PyUnicode_IS_ASCII(object) ? sizeof(PyASCIIObject) : sizeof(PyCompactUnicodeObject));
        return head + (PyUnicode_GET_LENGTH(object) + 1) * (Py_ssize_t)PyUnicode_KIND(object);
    }
    if (PyBytes_Check(object) || PyTuple_Check(object)) return size + Py_SIZE(object) * type->tp_itemsize;
    if (PyLong_Check(object)) {
#if PY_VERSION_HEX >= 0x030C0000
        return size + (Py_ssize_t)(((PyLongObject *)object)->long_value.lv_tag >> 3) * type->tp_itemsize;
#else
        return size + Py_ABS(Py_SIZE(object)) * type->tp_itemsize;
#endif
    }
    return size;
}

/* Adds an object to where the walk is. */
static void rt_held_charge(rt_held *h, PyObject *object) {
    uintptr_t key[4] = { (uintptr_t)h->stack, (uintptr_t)h->depth, (uintptr_t)h->place, (uintptr_t)h->type };
    int before = h->keys->count;
    if (before == h->room) {                              /* first, so that no key is without sums */
        int room = 2 * h->room + 64;
        rt_holding *found = (rt_holding *)realloc(h->found, (size_t)room * sizeof *found);
        if (found == NULL) { h->failed = 1; return; }
        h->found = found;
        h->room = room;
    }
    int number = rt_seqs_number(h->keys, key, 4);
    if (number < 0) { h->failed = 1; return; }
    if (number == before) {
        rt_holding fresh = { (PyTypeObject *)Py_NewRef((PyObject *)h->type), h->stack, h->depth, h->place, 0, 0 };
        h->found[number] = fresh;
    }
    h->found[number].objects++;
    h->found[number].bytes += rt_held_size(h, object);
}

static int rt_held_visit(PyObject *object, void *arg) {
    rt_held *h = (rt_held *)arg;
    if (Py_REFCNT(object) >= RT_IMMORTAL) return 0;
    rt_node *node = rt_heap_node(&h->heap, object);
    if (node == NULL) { h->failed = 1; return 1; }
    node->inside++;
    if (node->live || node->inside < Py_REFCNT(object)) return 0;
    node->live = 1;
    rt_held_charge(h, object);
    if (Py_TYPE(object)->tp_traverse == NULL) return h->failed;
    if (h->ntodo == h->todoroom) {
        size_t room = 2 * h->todoroom + 64;
        PyObject **todo = (PyObject **)realloc(h->todo, room * sizeof *todo);
        if (todo == NULL) { h->failed = 1; return 1; }
        h->todo = todo;
        h->todoroom = room;
    }
    h->todo[h->ntodo++] = object;
    return h->failed;
}

static inline void rt_held_slot(rt_held *h, rt_frame_slot slot) {
    int counts = 0;
    PyObject *object = rt_frame_object(slot, &counts);
    if (object != NULL && counts) rt_held_visit(object, h);
}

/* What an object that belongs to the frames refers to.  CPython's own function for a coroutine also shows references that do
 * not count. */
static void rt_held_look_into(rt_held *h, PyObject *object) {
    _PyInterpreterFrame *frame = rt_frame_suspended(object);
    if (frame == NULL) { Py_TYPE(object)->tp_traverse(object, rt_held_visit, h); return; }
    rt_held_slot(h, rt_frame_function(frame));
    for (int i = 0; i < rt_frame_places(frame); i++) rt_held_slot(h, frame->localsplus[i]);
}

/* Looks at the object in a place of a frame, and at all that this one holds. */
static void rt_held_place(rt_held *h, int place, rt_frame_slot slot) {
    int counts = 0;
    PyObject *object = rt_frame_object(slot, &counts);
    if (object == NULL || !counts) return;
    h->place = place;
    h->type = Py_TYPE(PyCell_Check(object) && PyCell_GET(object) != NULL ? PyCell_GET(object) : object);
    rt_held_visit(object, h);
    while (h->ntodo && !h->failed) rt_held_look_into(h, h->todo[--h->ntodo]);
}

/* What a suspended coroutine, generator or async generator awaits, also through CPython's own wrappers; borrowed. */
static PyObject *rt_held_next(PyObject *coro) {
    _PyInterpreterFrame *frame = rt_frame_suspended(coro);
    if (frame == NULL) return rt_wrapped(coro);
    return PyGen_CheckExact(coro) ? NULL : rt_frame_awaits(coro, frame);
}

/* Adds what the frames of a suspended coroutine hold.  stack: the number of its stack.  -1 where there is no memory. */
static int rt_held_add(rt_held *h, PyObject *coro, int stack) {
    h->stack = stack;
    for (PyObject *each = coro; each != NULL; each = rt_held_next(each)) {
        if (rt_frame_suspended(each) == NULL) continue;   /* they are counted below, whoever refers to them */
        rt_node *node = rt_heap_node(&h->heap, each);
        if (node == NULL) return -1;
        node->live = 1;
    }
    h->depth = 0;
    for (PyObject *each = coro; each != NULL && !h->failed; each = rt_held_next(each)) {
        _PyInterpreterFrame *frame = rt_frame_suspended(each);
        if (frame == NULL) continue;
        h->place = RT_HELD_FRAME;
        h->type = Py_TYPE(each);
        rt_held_charge(h, each);
        rt_held_place(h, RT_HELD_FUNCTION, rt_frame_function(frame));
        for (int i = 0; i < rt_frame_places(frame) && !h->failed; i++) rt_held_place(h, i, frame->localsplus[i]);
        h->depth++;
    }
    return h->failed ? -1 : 0;
}

/* The sums: [(stack, depth, place, type, objects, bytes)]. */
static PyObject *rt_held_sums(const rt_held *h) {
    PyObject *list = PyList_New(0);
    for (int i = 0; list != NULL && i < h->keys->count; i++) {
        const rt_holding *of = &h->found[i];
        PyObject *entry = Py_BuildValue("(LLLOLL)", (long long)of->stack, (long long)of->depth, (long long)of->place,
                                        (PyObject *)of->type, (long long)of->objects, (long long)of->bytes);
        if (entry == NULL || PyList_Append(list, entry) < 0) Py_CLEAR(list);
        Py_XDECREF(entry);
    }
    return list;
}
#endif
#endif
