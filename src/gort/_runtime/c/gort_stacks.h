/* gort_stacks.h: the stacks of other threads and of goroutines, read while no other thread runs Python.
 *
 * What lives here: functions that stop the world (CPython's, not the scheduler's) and walk frames meanwhile.  They
 * establish what Go's runtime/traceback.go can assume: that a goroutine does not run while its stack is read.  What does
 * not: the table that numbers equal stacks (gort_seqs.h), which goroutines are asked for, and their text
 * (core/traceback.py).
 *
 * With the GIL none of this is needed, because no other thread runs.  Without it, CPython 3.13 guards neither the frame
 * of a coroutine nor that of a thread.  cr_await takes a reference to the object on top of the frame's stack, and a
 * goroutine that resumes on another thread at this moment may just have released that object.  The object is then freed
 * twice, and an operation that is on the free list twice is given to two goroutines.  f_back follows frames that their
 * thread is leaving.
 *
 * Invariants: code that runs while the world is stopped does not wait, calls no Python code, drops no last reference, and
 * takes no lock of CPython's.  A thread that has waited for such a lock for a millisecond is given it by whoever unlocks
 * it, even while it is stopped: who then wants the lock waits for a thread that waits for the world.  To look up an
 * attribute is to take the lock of all types, so the getters are looked up beforehand.
 * (cr_frame raises an audit event.  A hook of sys.addaudithook is Python code, and must not wait for another thread.)
 *
 * Rejected: the goroutine's lock alone (a runnable goroutine may start at any moment); sys._current_frames, which stops
 * the world only until it returns; _PyEval_StopTheWorld, which is not exported.
 */
#ifndef GORT_STACKS_H
#define GORT_STACKS_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gort_seqs.h"

typedef PyObject *(*rt_stoppedfunc)(PyObject *);

#ifdef GORT_STACKS_OWNER                                  /* only core/stacks.py and core/held.py call these */
#include "gort_frames.h"

typedef struct { rt_stoppedfunc fn; PyObject *arg, *result; int done; } rt_stopped;

#ifdef Py_GIL_DISABLED
static int rt_stopped_visit(PyObject *object, void *arg) {
    rt_stopped *stopped = (rt_stopped *)arg;
    stopped->done = 1;
    stopped->result = stopped->fn(stopped->arg);
    return 0;                                             /* no further objects */
}
#endif

/* Appends (code, offset of the instruction, globals) of a frame to list. */
static int rt_append_frame(PyObject *list, PyFrameObject *frame) {
    PyObject *entry = Py_BuildValue("(NiN)", PyFrame_GetCode(frame), PyFrame_GetLasti(frame), PyFrame_GetGlobals(frame));
    if (entry == NULL) return -1;
    int failed = PyList_Append(list, entry);
    Py_DECREF(entry);
    return failed;
}

/* The frames of the thread `ident`, the innermost first. */
static inline PyObject *rt_thread_frames(long long ident) {
    PyObject *list = PyList_New(0);
    if (list == NULL) return NULL;
    PyThreadState *ts = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
    while (ts != NULL && ts->thread_id != (unsigned long)ident) ts = PyThreadState_Next(ts);
    PyFrameObject *frame = ts == NULL ? NULL : PyThreadState_GetFrame(ts);
    while (frame != NULL) {
        int failed = rt_append_frame(list, frame);
        PyFrameObject *back = failed ? NULL : PyFrame_GetBack(frame);
        Py_DECREF(frame);                                 /* not the last: its thread holds a reference */
        if (failed) { Py_DECREF(list); return NULL; }
        frame = back;
    }
    return list;
}

/* Where a suspended coroutine, generator or async generator stands, and what it awaits: the getters of these attributes,
 * which are C and run no Python code. */
typedef struct { PyTypeObject *type; const char *frame_name, *awaits_name; PyGetSetDef *frame, *awaits; } rt_suspendable;
static rt_suspendable rt_suspended[] = {
    { &PyCoro_Type, "cr_frame", "cr_await", NULL, NULL },
    { &PyGen_Type, "gi_frame", "gi_yieldfrom", NULL, NULL },
    { &PyAsyncGen_Type, "ag_frame", "ag_await", NULL, NULL },
};
#define RT_SUSPENDED (sizeof rt_suspended / sizeof *rt_suspended)

static PyGetSetDef *rt_find_getter(PyTypeObject *type, const char *name) {
    PyObject *descriptor = PyObject_GetAttrString((PyObject *)type, name);
    if (descriptor == NULL) return NULL;
    PyGetSetDef *getter = NULL;
    if (Py_IS_TYPE(descriptor, &PyGetSetDescr_Type)) getter = ((PyGetSetDescrObject *)descriptor)->d_getset;
    else PyErr_Format(PyExc_SystemError, "gort: %s.%s is no getset descriptor", type->tp_name, name);
    Py_DECREF(descriptor);                                /* the type, which is static, holds it */
    return getter;
}

/* Fills the table; a module that calls what reads it calls this when it is imported.  -1 with an exception when it cannot. */
static int rt_getters(void) {
    for (size_t i = 0; i < RT_SUSPENDED; i++) {
        rt_suspendable *of = &rt_suspended[i];
        PyGetSetDef *frame = rt_find_getter(of->type, of->frame_name), *awaits;
        if (frame == NULL || (awaits = rt_find_getter(of->type, of->awaits_name)) == NULL) return -1;
        of->frame = frame;
        of->awaits = awaits;
    }
    return 0;
}

/* The value of a getter; NULL, without an exception, for None and where there is no value. */
static PyObject *rt_get(PyGetSetDef *getter, PyObject *object) {
    PyObject *value = getter->get(object, getter->closure);
    if (value == NULL) { PyErr_Clear(); return NULL; }
    if (value == Py_None) { Py_DECREF(value); return NULL; }
    return value;
}

#define RT_AWAITS_MAX 1000

/* The frames of a suspended coroutine, the innermost first. */
static inline PyObject *rt_awaited_frames(PyObject *coro) {
    PyObject *list = PyList_New(0);
    if (list == NULL) return NULL;
    Py_INCREF(coro);
    for (int seen = 0; coro != NULL && seen < RT_AWAITS_MAX; seen++) {
        rt_suspendable *of = NULL;                        /* NULL for other types: the end of the chain, or a wrapper */
        for (size_t i = 0; i < RT_SUSPENDED && of == NULL; i++) if (Py_IS_TYPE(coro, rt_suspended[i].type)) of = &rt_suspended[i];
        PyObject *frame = of == NULL ? NULL : rt_get(of->frame, coro);
        int failed = frame != NULL && PyFrame_Check(frame) && rt_append_frame(list, (PyFrameObject *)frame);
        Py_XDECREF(frame);                                /* not the last: the coroutine holds a reference */
        PyObject *next = failed || of == NULL ? NULL : rt_get(of->awaits, coro);
        if (next == NULL && !failed) next = Py_XNewRef(rt_wrapped(coro));
        Py_DECREF(coro);
        if (failed) { Py_DECREF(list); return NULL; }
        coro = next;
    }
    Py_XDECREF(coro);
    if (PyList_Reverse(list) < 0) { Py_DECREF(list); return NULL; }
    return list;
}

/* The same two as words, for rt_seqs_number: two for each frame, its code and the offset of its instruction.  At most `max`
 * words, so of a stack that is deeper only a part.  The codes are borrowed from the frames.  An exception is cleared: the
 * frame for which there was no memory is left out. */
static int rt_add_place(PyFrameObject *frame, uintptr_t *words, int n) {
    PyCodeObject *code = PyFrame_GetCode(frame);
    words[n] = (uintptr_t)code;
    words[n + 1] = (uintptr_t)PyFrame_GetLasti(frame);
    Py_DECREF(code);                                      /* not the last: the frame holds one */
    return n + 2;
}

static inline int rt_thread_places(long long ident, uintptr_t *words, int max) {
    int n = 0;
    PyThreadState *ts = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
    while (ts != NULL && ts->thread_id != (unsigned long)ident) ts = PyThreadState_Next(ts);
    PyFrameObject *frame = ts == NULL ? NULL : PyThreadState_GetFrame(ts);
    while (frame != NULL && n + 2 <= max) {
        n = rt_add_place(frame, words, n);
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    if (PyErr_Occurred()) PyErr_Clear();
    return n;
}

static int rt_awaited_places(PyObject *coro, uintptr_t *words, int max) {
    int n = 0;
#ifdef GORT_FRAMES_READ
    /* Without PyFrameObjects as far as that goes: to make one for each frame would take longer than all the rest. */
    while (n + 2 <= max) {
        _PyInterpreterFrame *frame = PyGen_CheckExact(coro) ? NULL : rt_frame_suspended(coro);
        PyObject *next = frame == NULL ? rt_wrapped(coro) : rt_frame_awaits(coro, frame);
        if (frame != NULL) n = rt_frames_place(frame, words, n);
        if (next == NULL && frame != NULL) return n;
        if (next == NULL) break;                          /* a generator, one that runs, or the end */
        coro = next;
    }
#endif
    Py_INCREF(coro);
    while (coro != NULL && n + 2 <= max) {
        rt_suspendable *of = NULL;
        for (size_t i = 0; i < RT_SUSPENDED && of == NULL; i++) if (Py_IS_TYPE(coro, rt_suspended[i].type)) of = &rt_suspended[i];
        PyObject *frame = of == NULL ? NULL : rt_get(of->frame, coro);
        if (frame != NULL && PyFrame_Check(frame)) n = rt_add_place((PyFrameObject *)frame, words, n);
        Py_XDECREF(frame);
        PyObject *next = of == NULL ? NULL : rt_get(of->awaits, coro);
        if (next == NULL) next = Py_XNewRef(rt_wrapped(coro));
        Py_DECREF(coro);
        coro = next;
    }
    Py_XDECREF(coro);
    return n;
}

/* What the frame of a suspended coroutine keeps: for objects of some of Python's own types their names and sizes. */
typedef struct { PyObject *code, *found; Py_ssize_t n, begin; int failed; } rt_keeping;

static Py_ssize_t rt_size_of(PyObject *object) {
    if (PyBytes_CheckExact(object)) return PyBytes_GET_SIZE(object);
    if (PyByteArray_CheckExact(object)) return ((PyByteArrayObject *)object)->ob_alloc;
    if (PyUnicode_CheckExact(object)) return PyUnicode_GET_LENGTH(object) * (Py_ssize_t)PyUnicode_KIND(object);
    if (PyList_CheckExact(object)) return ((PyListObject *)object)->allocated * (Py_ssize_t)sizeof(PyObject *);
    if (PyTuple_CheckExact(object)) return PyTuple_GET_SIZE(object) * (Py_ssize_t)sizeof(PyObject *);
    return 0;
}

static int rt_keeps(PyObject *object, void *arg) {
    rt_keeping *of = (rt_keeping *)arg;
    if (object == of->code) of->begin = of->n + 1;        /* the variables follow */
    Py_ssize_t size = rt_size_of(object);
    if (size > 0) {
        PyObject *entry = Py_BuildValue("(nsn)", of->n, Py_TYPE(object)->tp_name, size);
        if (entry == NULL || PyList_Append(of->found, entry) < 0) { PyErr_Clear(); of->failed = 1; }
        Py_XDECREF(entry);
    }
    of->n++;
    return of->failed;                                    /* no further ones */
}

/* For each frame of a suspended coroutine, the outermost first: (code, how many objects it refers to, which of them is its
 * first variable, or 0, [(which, name of the type, bytes)]).  The objects themselves are not kept: to drop the last
 * reference would run the program's finalizers here. */
static inline PyObject *rt_kept(PyObject *coro) {
    PyObject *list = PyList_New(0);
    if (list == NULL) return NULL;
    Py_INCREF(coro);
    for (int seen = 0; coro != NULL && seen < RT_AWAITS_MAX; seen++) {
        rt_suspendable *of = NULL;
        for (size_t i = 0; i < RT_SUSPENDED && of == NULL; i++) if (Py_IS_TYPE(coro, rt_suspended[i].type)) of = &rt_suspended[i];
        PyObject *frame = of == NULL ? NULL : rt_get(of->frame, coro), *next = NULL;
        if (frame != NULL && PyFrame_Check(frame)) {
            rt_keeping keeping = { (PyObject *)PyFrame_GetCode((PyFrameObject *)frame), PyList_New(0), 0, 0, 0 };
            PyObject *entry = NULL;
            if (keeping.found != NULL) {
                Py_TYPE(coro)->tp_traverse(coro, rt_keeps, &keeping);
                entry = Py_BuildValue("(OnnO)", keeping.code, keeping.n, keeping.begin, keeping.found);
            }
            if (entry == NULL || PyList_Append(list, entry) < 0) PyErr_Clear();  /* without memory a frame is left out */
            Py_XDECREF(entry);
            Py_XDECREF(keeping.found);
            Py_DECREF(keeping.code);                      /* not the last: the frame holds one */
        }
        Py_XDECREF(frame);
        if (of != NULL) next = rt_get(of->awaits, coro);
        if (next == NULL) next = Py_XNewRef(rt_wrapped(coro));
        Py_DECREF(coro);
        coro = next;
    }
    Py_XDECREF(coro);
    return list;
}

/* What a goroutine is at the moment of a census (core/stacks.py): the operation that it waits for, the code of its go
 * statement, sched.coarsetime when it began to wait, its place in the list that is gone through, its status, the offset
 * of the go statement, the number of its stack, whether it is locked to a thread. */
typedef struct { PyObject *op, *code; int64_t since; int i, status, lasti, stack, locked; } rt_record;

static inline rt_record *rt_records_new(Py_ssize_t n) { return (rt_record *)calloc((size_t)n + 1, sizeof(rt_record)); }
static uintptr_t *rt_words_new(int n) { return (uintptr_t *)malloc((size_t)n * sizeof(uintptr_t)); }

/* Calls fn(arg) while no other thread runs Python.  The only public function that stops the world is one of the
 * collector's; it calls rt_stopped_visit with the first object that it finds. */
static PyObject *rt_world_stopped(rt_stoppedfunc fn, PyObject *arg) {
    rt_stopped stopped = { fn, arg, NULL, 0 };
#ifdef Py_GIL_DISABLED
    PyUnstable_GC_VisitObjects(rt_stopped_visit, &stopped);
    return stopped.done ? stopped.result : fn(arg);
#else
    /* The GIL is held, and no Python code runs that would give it away: before CPython 3.12 a collection, and so a
     * finalizer, may begin where a frame's object is made. */
    int collects = PyGC_Disable();
    stopped.result = fn(arg);
    if (collects) PyGC_Enable();
    return stopped.result;
#endif
}
#endif
#endif
