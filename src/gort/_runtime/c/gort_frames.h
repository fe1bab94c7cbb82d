/* gort_frames.h: the frames of the calling thread and of a suspended coroutine, as words: the code of each and the offset of
 * its instruction, the innermost first, at most RT_STACK_MAX of them.
 *
 * What lives here: what may be called on the scheduler's stack, because no Python code runs here, no object is made, and no
 * reference is taken.  The codes are borrowed from the frames.  What does not: stacks of other threads, and of goroutines
 * that may run meanwhile (gort_stacks.h); the tables that number stacks (gort_seqs.h).
 *
 * Frames look different in each version of CPython, and only its private headers tell.  The functions rt_frame_… are the
 * only ones that know.  A version that nobody has tried here (RT_FRAMES_TRIED) has no frames: all stacks are empty.
 */
#ifndef GORT_FRAMES_H
#define GORT_FRAMES_H
#include "gort_rt.h"

#define RT_FRAMES_TRIED 0x03100000                        /* the first version that has not been tried: 3.16 */
#if PY_VERSION_HEX < RT_FRAMES_TRIED
#define GORT_FRAMES_READ 1
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#endif
#if PY_VERSION_HEX >= 0x030E0000
#include "internal/pycore_interpframe.h"
#endif
#include "internal/pycore_frame.h"
#undef Py_BUILD_CORE
#endif

#define RT_STACK_MAX 64                                   /* frames of a stack that are kept */

#ifdef GORT_FRAMES_READ
/* The object in a place of a frame; NULL if there is none.  From 3.14 on the lowest bits of a place tell whether it counts as
 * a reference (`counts`), and whether it is a small integer and no object. */
#if PY_VERSION_HEX >= 0x030E0000
typedef _PyStackRef rt_frame_slot;
static inline PyObject *rt_frame_object(rt_frame_slot place, int *counts) {
    if ((place.bits & 3) == 3) return NULL;
    *counts = (place.bits & 1) == 0;
    return (PyObject *)(place.bits & ~(uintptr_t)3);
}
#else
typedef PyObject *rt_frame_slot;
static inline PyObject *rt_frame_object(rt_frame_slot place, int *counts) {
    *counts = 1;
    return place;
}
#endif

/* The code that a frame runs; borrowed.  NULL for a frame of the interpreter's own, where C has called Python. */
static inline PyCodeObject *rt_frame_code(_PyInterpreterFrame *frame) {
#if PY_VERSION_HEX >= 0x030E0000
    int counts;
    PyObject *code = frame->owner < FRAME_OWNED_BY_INTERPRETER ? rt_frame_object(frame->f_executable, &counts) : NULL;
#elif PY_VERSION_HEX >= 0x030D0000
    PyObject *code = frame->owner == FRAME_OWNED_BY_CSTACK ? NULL : frame->f_executable;
#elif PY_VERSION_HEX >= 0x030C0000
    PyObject *code = frame->owner == FRAME_OWNED_BY_CSTACK ? NULL : (PyObject *)frame->f_code;
#else
    PyObject *code = (PyObject *)frame->f_code;
#endif
    return code != NULL && PyCode_Check(code) ? (PyCodeObject *)code : NULL;
}

/* The function that a frame runs. */
static inline rt_frame_slot rt_frame_function(const _PyInterpreterFrame *frame) {
#if PY_VERSION_HEX >= 0x030C0000
    return frame->f_funcobj;
#else
    return (PyObject *)frame->f_func;
#endif
}

/* How many places of a suspended frame are in use: its variables, and above them the values of expressions. */
static inline int rt_frame_places(const _PyInterpreterFrame *frame) {
#if PY_VERSION_HEX >= 0x030E0000
    return (int)(frame->stackpointer - frame->localsplus);
#else
    return frame->stacktop;
#endif
}

static inline int rt_frames_place(_PyInterpreterFrame *frame, uintptr_t *words, int n) {
    PyCodeObject *code = rt_frame_code(frame);
    if (code == NULL) return n;
    words[n] = (uintptr_t)code;
    words[n + 1] = (uintptr_t)(_PyInterpreterFrame_LASTI(frame) * (int)sizeof(_Py_CODEUNIT));
    return n + 2;
}

/* The frame of a coroutine, generator or async generator that is suspended or has not begun; NULL for other objects, and for
 * one that runs or has ended. */
static inline _PyInterpreterFrame *rt_frame_suspended(PyObject *coro) {
    if (!PyCoro_CheckExact(coro) && !PyAsyncGen_CheckExact(coro) && !PyGen_CheckExact(coro)) return NULL;
    PyGenObject *gen = (PyGenObject *)coro;
    return gen->gi_frame_state < FRAME_EXECUTING ? (_PyInterpreterFrame *)&gen->gi_iframe : NULL;
}

/* What a suspended coroutine awaits, whose frame this is; borrowed.  NULL if it has not begun.  From 3.15 on there may be a
 * place without an object above it: SEND has there what FOR_ITER has. */
static inline PyObject *rt_frame_awaits(PyObject *coro, _PyInterpreterFrame *frame) {
    int n = rt_frame_places(frame), counts;
    if (((PyGenObject *)coro)->gi_frame_state == FRAME_CREATED || n <= rt_frame_code(frame)->co_nlocalsplus) return NULL;
    PyObject *object = rt_frame_object(frame->localsplus[n - 1], &counts);
#if PY_VERSION_HEX >= 0x030F0000
    if (object == NULL && n - 1 > rt_frame_code(frame)->co_nlocalsplus)
        object = rt_frame_object(frame->localsplus[n - 2], &counts);
#endif
    return object;
}
#endif

/* The frames of this thread, up to that of the coroutine `coro`: what lies below is the scheduler.  NULL or another object:
 * all of them. */
static inline int rt_frames_mine(PyObject *coro, uintptr_t *words) {
    int n = 0;
#ifdef GORT_FRAMES_READ
    _PyInterpreterFrame *last = NULL;
    if (coro != NULL && PyCoro_CheckExact(coro)) last = (_PyInterpreterFrame *)&((PyGenObject *)coro)->gi_iframe;
    PyThreadState *ts = PyThreadState_Get();
#if PY_VERSION_HEX >= 0x030D0000
    _PyInterpreterFrame *frame = ts->current_frame;
#else
    _PyInterpreterFrame *frame = ts->cframe->current_frame;
#endif
    for (; frame != NULL && n < 2 * RT_STACK_MAX; frame = frame->previous) {
        n = rt_frames_place(frame, words, n);
        if (frame == last) break;
    }
#endif
    return n;
}

static inline int rt_first_visit(PyObject *object, void *first) {
    *(PyObject **)first = object;
    return 1;                                             /* no further ones */
}

/* What an object of CPython's own awaits that has no attribute for it (traceback.WRAPPERS): the first object to which it
 * refers; borrowed.  NULL for all others. */
static inline PyObject *rt_wrapped(PyObject *object) {
    static const char *const wrappers[] = {
        "async_generator_asend", "async_generator_athrow", "anext_awaitable", "coroutine_wrapper"
    };
    PyTypeObject *type = Py_TYPE(object);
    PyObject *first = NULL;
    if (type->tp_flags & Py_TPFLAGS_HEAPTYPE || type->tp_traverse == NULL) return NULL;
    if (type->tp_name[0] != 'a' && type->tp_name[0] != 'c') return NULL;  /* nearly always: an operation of gort's own */
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers && first == NULL; i++)
        if (strcmp(type->tp_name, wrappers[i]) == 0) type->tp_traverse(object, rt_first_visit, &first);
    return first;
}

/* Outermost first: of a deep stack the innermost frames would be missing, so it goes all the way and keeps the last.
 * Generators end it: where one stands at a `yield`, the top of its stack is not what it awaits. */
static inline int rt_frames_awaited(PyObject *coro, uintptr_t *words) {
    int n = 0;
#ifdef GORT_FRAMES_READ
    while (coro != NULL) {
        _PyInterpreterFrame *frame = PyGen_CheckExact(coro) ? NULL : rt_frame_suspended(coro);
        if (frame == NULL) {
            coro = rt_wrapped(coro);
            continue;
        }
        if (n == 2 * RT_STACK_MAX) { memmove(words, words + 2, (size_t)(n - 2) * sizeof *words); n -= 2; }
        n = rt_frames_place(frame, words, n);
        coro = rt_frame_awaits(coro, frame);
    }
    for (int i = 0, j = n - 2; i < j; i += 2, j -= 2)
        for (int k = 0; k < 2; k++) { uintptr_t w = words[i + k]; words[i + k] = words[j + k]; words[j + k] = w; }
#endif
    return n;
}
#endif
