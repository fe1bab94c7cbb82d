/* gort_stacks.h: the stacks of other threads and of goroutines, read while no other thread runs Python.
 *
 * What lives here: stopping the world (CPython's, not the scheduler's), and walking frames in it.  Follows what Go's
 * runtime/traceback.go may take for granted: that whoever is looked at stands still.
 *
 * With the GIL nothing of this is needed: whoever looks is alone.  Without it CPython 3.13 guards neither a coroutine's
 * frame nor a thread's: cr_await takes a reference to what lies on top of the frame's stack, which the goroutine, resumed
 * on another thread at this moment, has just let go; the object is then freed twice, and an operation twice on the free
 * list is given to two goroutines.  f_back follows frames that their thread is leaving.
 *
 * Invariants: what runs while the world is stopped neither waits, nor calls Python code, nor drops a last reference.
 * (cr_frame raises an audit event.  A hook made by sys.addaudithook is Python code: it must not wait for another thread.)
 *
 * Rejected: the goroutine's lock alone (a runnable goroutine may start at any moment); sys._current_frames, which stops
 * the world only until it returns; _PyEval_StopTheWorld, which is not exported.
 */
#ifndef GORT_STACKS_H
#define GORT_STACKS_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>

typedef PyObject *(*rt_stoppedfunc)(PyObject *);

#ifdef GORT_RT_OWNER                                      /* runtime2 alone calls these */
typedef struct { rt_stoppedfunc fn; PyObject *arg, *result; int done; } rt_stopped;

#ifdef Py_GIL_DISABLED
static int rt_stopped_visit(PyObject *object, void *arg) {
    rt_stopped *stopped = (rt_stopped *)arg;
    stopped->done = 1;
    stopped->result = stopped->fn(stopped->arg);
    return 0;                                             /* the one object is enough */
}
#endif

/* fn(arg), while no other thread runs Python.  The only public function that stops the world is the collector's, which
 * calls us with the first object that it comes by. */
static PyObject *rt_world_stopped(rt_stoppedfunc fn, PyObject *arg) {
    rt_stopped stopped = { fn, arg, NULL, 0 };
#ifdef Py_GIL_DISABLED
    PyUnstable_GC_VisitObjects(rt_stopped_visit, &stopped);
#endif
    return stopped.done ? stopped.result : fn(arg);
}

/* Appends (code, offset of the instruction, globals) of one frame. */
static int rt_append_frame(PyObject *list, PyFrameObject *frame) {
    PyObject *entry = Py_BuildValue("(NiN)", PyFrame_GetCode(frame), PyFrame_GetLasti(frame), PyFrame_GetGlobals(frame));
    if (entry == NULL) return -1;
    int failed = PyList_Append(list, entry);
    Py_DECREF(entry);
    return failed;
}

/* What the thread `ident` runs, innermost first. */
static PyObject *rt_thread_frames(long long ident) {
    PyObject *list = PyList_New(0);
    if (list == NULL) return NULL;
    PyThreadState *ts = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
    while (ts != NULL && ts->thread_id != (unsigned long)ident) ts = PyThreadState_Next(ts);
    PyFrameObject *frame = ts == NULL ? NULL : PyThreadState_GetFrame(ts);
    while (frame != NULL) {
        int failed = rt_append_frame(list, frame);
        PyFrameObject *back = failed ? NULL : PyFrame_GetBack(frame);
        Py_DECREF(frame);                                 /* its thread holds another reference */
        if (failed) { Py_DECREF(list); return NULL; }
        frame = back;
    }
    return list;
}

/* The next object of the chain of awaits; NULL, without an exception, at its end.  Only types whose attributes are C. */
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

/* The frames of a suspended coroutine, innermost first. */
static PyObject *rt_awaited_frames(PyObject *coro) {
    PyObject *list = PyList_New(0);
    if (list == NULL) return NULL;
    Py_INCREF(coro);
    for (int seen = 0; coro != NULL && seen < RT_AWAITS_MAX; seen++) {
        PyObject *frame = rt_awaited_attr(coro, "cr_frame", "gi_frame", "ag_frame");
        int failed = frame != NULL && PyFrame_Check(frame) && rt_append_frame(list, (PyFrameObject *)frame);
        Py_XDECREF(frame);                                /* the coroutine holds another reference */
        PyObject *next = failed ? NULL : rt_awaited_attr(coro, "cr_await", "gi_yieldfrom", "ag_await");
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
