/* gort_frames.h: the frames of the calling thread and of a suspended coroutine, as words: the code of each and the offset of
 * its instruction, the innermost first, at most RT_STACK_MAX of them.
 *
 * What lives here: what may be called on the scheduler's stack, because no Python code runs here, no object is made, and no
 * reference is taken.  The codes are borrowed from the frames.  What does not: stacks of other threads, and of goroutines
 * that may run meanwhile (gort_stacks.h); the tables that number stacks (gort_seqs.h).
 *
 * From CPython 3.14 on the frames look different, and all stacks are empty.
 */
#ifndef GORT_FRAMES_H
#define GORT_FRAMES_H
#include "gort_rt.h"

#if PY_VERSION_HEX < 0x030E0000
#define GORT_FRAMES_READ 1
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#endif
#include "internal/pycore_frame.h"
#undef Py_BUILD_CORE
#endif

#define RT_STACK_MAX 64                                   /* frames of a stack that are kept */

#ifdef GORT_FRAMES_READ
static inline int rt_frames_place(_PyInterpreterFrame *frame, uintptr_t *words, int n) {
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *code = frame->f_executable;
    if (code == NULL || !PyCode_Check(code)) return n;    /* C has called Python here */
#else
    PyObject *code = (PyObject *)frame->f_code;
#endif
#if PY_VERSION_HEX >= 0x030C0000
    if (frame->owner == FRAME_OWNED_BY_CSTACK) return n;  /* the same */
#endif
    words[n] = (uintptr_t)code;
    words[n + 1] = (uintptr_t)(_PyInterpreterFrame_LASTI(frame) * (int)sizeof(_Py_CODEUNIT));
    return n + 2;
}
#endif

static inline int rt_frames_mine(uintptr_t *words) {
    int n = 0;
#ifdef GORT_FRAMES_READ
    PyThreadState *ts = PyThreadState_Get();
#if PY_VERSION_HEX >= 0x030D0000
    _PyInterpreterFrame *frame = ts->current_frame;
#else
    _PyInterpreterFrame *frame = ts->cframe->current_frame;
#endif
    for (; frame != NULL && n < 2 * RT_STACK_MAX; frame = frame->previous) n = rt_frames_place(frame, words, n);
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
        if (!PyCoro_CheckExact(coro) && !PyAsyncGen_CheckExact(coro)) {
            coro = rt_wrapped(coro);
            continue;
        }
        PyGenObject *gen = (PyGenObject *)coro;
        _PyInterpreterFrame *frame = (_PyInterpreterFrame *)gen->gi_iframe;
        if (gen->gi_frame_state >= FRAME_EXECUTING) break;
        if (n == 2 * RT_STACK_MAX) { memmove(words, words + 2, (size_t)(n - 2) * sizeof *words); n -= 2; }
        n = rt_frames_place(frame, words, n);
        if (gen->gi_frame_state == FRAME_CREATED || frame->stacktop <= ((PyCodeObject *)words[n - 2])->co_nlocalsplus) break;
        coro = frame->localsplus[frame->stacktop - 1];    /* what it awaits */
    }
    for (int i = 0, j = n - 2; i < j; i += 2, j -= 2)
        for (int k = 0; k < 2; k++) { uintptr_t w = words[i + k]; words[i + k] = words[j + k]; words[j + k] = w; }
#endif
    return n;
}
#endif
