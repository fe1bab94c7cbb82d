/* gort_stacks.h: the stacks of other threads and of goroutines, read while no other thread runs Python.
 *
 * What lives here: functions that stop the world (CPython's, not the scheduler's) and walk frames meanwhile.  They
 * establish what Go's runtime/traceback.go can assume: that a goroutine does not run while its stack is read.  What
 * does not: which goroutines are asked for, and their text (core/traceback.py).
 *
 * With the GIL none of this is needed, because no other thread runs.  Without it, CPython 3.13 guards neither the frame
 * of a coroutine nor that of a thread.  cr_await takes a reference to the object on top of the frame's stack, and a
 * goroutine that resumes on another thread at this moment may just have released that object.  The object is then freed
 * twice, and an operation that is on the free list twice is given to two goroutines.  f_back follows frames that their
 * thread is leaving.
 *
 * Invariants: code that runs while the world is stopped does not wait, calls no Python code, and drops no last
 * reference.
 * (cr_frame raises an audit event.  A hook of sys.addaudithook is Python code, and must not wait for another thread.)
 *
 * Rejected: the goroutine's lock alone (a runnable goroutine may start at any moment); sys._current_frames, which stops
 * the world only until it returns; _PyEval_StopTheWorld, which is not exported.
 */
#ifndef GORT_STACKS_H
#define GORT_STACKS_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>

typedef PyObject *(*rt_stoppedfunc)(PyObject *);

#ifdef GORT_RT_OWNER                                      /* only runtime2 calls these */
typedef struct { rt_stoppedfunc fn; PyObject *arg, *result; int done; } rt_stopped;

#ifdef Py_GIL_DISABLED
static int rt_stopped_visit(PyObject *object, void *arg) {
    rt_stopped *stopped = (rt_stopped *)arg;
    stopped->done = 1;
    stopped->result = stopped->fn(stopped->arg);
    return 0;                                             /* no further objects */
}
#endif

/* Calls fn(arg) while no other thread runs Python.  The only public function that stops the world is one of the
 * collector's; it calls rt_stopped_visit with the first object that it finds. */
static PyObject *rt_world_stopped(rt_stoppedfunc fn, PyObject *arg) {
    rt_stopped stopped = { fn, arg, NULL, 0 };
#ifdef Py_GIL_DISABLED
    PyUnstable_GC_VisitObjects(rt_stopped_visit, &stopped);
#endif
    return stopped.done ? stopped.result : fn(arg);
}

/* Appends (code, offset of the instruction, globals) of a frame to list. */
static int rt_append_frame(PyObject *list, PyFrameObject *frame) {
    PyObject *entry = Py_BuildValue("(NiN)", PyFrame_GetCode(frame), PyFrame_GetLasti(frame), PyFrame_GetGlobals(frame));
    if (entry == NULL) return -1;
    int failed = PyList_Append(list, entry);
    Py_DECREF(entry);
    return failed;
}

/* The frames of the thread `ident`, the innermost first. */
static PyObject *rt_thread_frames(long long ident) {
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

/* The named attribute of a coroutine, generator or async generator, whose attributes are C and run no Python code.
 * NULL, without an exception, for other types and at the end of the chain of awaits. */
static PyObject *rt_awaited_attr(PyObject *coro, const char *of_coro, const char *of_gen, const char *of_agen) {
    const char *name = PyCoro_CheckExact(coro) ? of_coro : PyGen_CheckExact(coro) ? of_gen
                       : PyAsyncGen_CheckExact(coro) ? of_agen : NULL;
    if (name == NULL) return NULL;
    PyObject *value = PyObject_GetAttrString(coro, name);
    if (value == NULL) { PyErr_Clear(); return NULL; }
    if (value == Py_None) { Py_DECREF(value); return NULL; }
    return value;
}

#define RT_AWAITS_MAX 1000

static int rt_first_visit(PyObject *object, void *first) {
    *(PyObject **)first = object;
    return 1;                                             /* no further ones */
}

/* What an object of CPython's own awaits that has no attribute for it (traceback.WRAPPERS): the first object to which it
 * refers.  NULL for all others. */
static PyObject *rt_wrapped(PyObject *object) {
    static const char *const wrappers[] = {
        "async_generator_asend", "async_generator_athrow", "anext_awaitable", "coroutine_wrapper"
    };
    PyTypeObject *type = Py_TYPE(object);
    PyObject *first = NULL;
    if (type->tp_flags & Py_TPFLAGS_HEAPTYPE || type->tp_traverse == NULL) return NULL;
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers && first == NULL; i++)
        if (strcmp(type->tp_name, wrappers[i]) == 0) type->tp_traverse(object, rt_first_visit, &first);
    Py_XINCREF(first);
    return first;
}

/* The frames of a suspended coroutine, the innermost first. */
static PyObject *rt_awaited_frames(PyObject *coro) {
    PyObject *list = PyList_New(0);
    if (list == NULL) return NULL;
    Py_INCREF(coro);
    for (int seen = 0; coro != NULL && seen < RT_AWAITS_MAX; seen++) {
        PyObject *frame = rt_awaited_attr(coro, "cr_frame", "gi_frame", "ag_frame");
        int failed = frame != NULL && PyFrame_Check(frame) && rt_append_frame(list, (PyFrameObject *)frame);
        Py_XDECREF(frame);                                /* not the last: the coroutine holds a reference */
        PyObject *next = failed ? NULL : rt_awaited_attr(coro, "cr_await", "gi_yieldfrom", "ag_await");
        if (next == NULL && !failed) next = rt_wrapped(coro);
        Py_DECREF(coro);
        if (failed) { Py_DECREF(list); return NULL; }
        coro = next;
    }
    Py_XDECREF(coro);
    if (PyList_Reverse(list) < 0) { Py_DECREF(list); return NULL; }
    return list;
}
#endif
#endif
