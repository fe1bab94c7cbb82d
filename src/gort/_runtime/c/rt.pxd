# rt.pxd: the C side of gort_rt.h for the compiled core.  rt.py holds the same names for the uncompiled one.
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t, uint32_t

cdef extern from "gort_rt.h":
    ctypedef struct rt_mutex:
        pass
    ctypedef int (*rt_sendfunc)(PyObject *, PyObject *, PyObject **) except -1
    ctypedef object (*rt_awaitfunc)(PyObject *)
    void rt_lock(rt_mutex *m, int rank) noexcept
    void rt_unlock(rt_mutex *m, int rank) noexcept
    bint rt_locks() noexcept
    int rt_import() except -1
    PyObject *rt_getm() noexcept
    void rt_setm(PyObject *m) noexcept
    int64_t nanotime "rt_nanotime"() noexcept nogil
    int64_t rt_cputime() noexcept
    int64_t rt_sleeps() noexcept
    int64_t rt_stack_here() noexcept
    void rt_stack_trim(int64_t top) noexcept
    int64_t rt_cpu_of(int64_t procid) noexcept nogil
    int rt_doing(int64_t procid) noexcept nogil
    int UNKNOWN "GORT_UNKNOWN"
    int RUNS "GORT_RUNS"
    int WAITS_FOR_GIL "GORT_WAITS_FOR_GIL"
    int WAITS_FOR_LOCK "GORT_WAITS_FOR_LOCK"
    int WAITS_INSIDE "GORT_WAITS_INSIDE"
    int64_t rt_key(object code, int lasti) noexcept
    int64_t rt_place(object own) noexcept
    void rt_swap_context(PyObject **ctx) noexcept
    object copy_context "rt_copy_context_object"()
    bint FREE_THREADED "GORT_FREE_THREADED"
    bint WATCHES "GORT_CPU_OF"
    PyObject *rt_copy_context() except? NULL
    void rt_begin_loop() noexcept
    int rt_traced() noexcept
    int rt_resume(PyObject *coro, PyObject **ctx, PyObject **result) noexcept
    int rt_call_in(PyObject *fn, PyObject *args, PyObject *kwargs, PyObject *via, PyObject **ctx,
                   PyObject **result) noexcept
    int rt_throw_in(PyObject *coro, PyObject *exc, PyObject **ctx, PyObject **result) noexcept
    void rt_set_op_send(rt_sendfunc send) noexcept
    void rt_set_op_await(rt_awaitfunc wait) noexcept
    int rt_install_op(object type) except -1
    int rt_op_send(object op, PyObject *arg, PyObject **result) noexcept
    void rt_set_value_send(rt_sendfunc send) noexcept
    int rt_install_value(object type) except -1
    void rt_op_swap(object op, PyObject *buffer, Py_ssize_t i) noexcept
    PyObject *rt_op_take(object op) noexcept
    void rt_op_trade(object one, object other) noexcept
    int rt_op_check(object op) except -1
    int rt_load_once(object o) except -1
    void rt_set_never(void (*never)(PyObject *) noexcept) noexcept
    object rt_caller(int *lasti)
    ctypedef PyObject *(*rt_fastcall)(PyObject *, PyObject **, Py_ssize_t, PyObject *) except NULL
    ctypedef int (*rt_quietly)(object, int) noexcept
    object rt_builtin(object slow, rt_fastcall fast)
    object rt_fast_method(object type, object name, rt_fastcall fast)
    PyObject *rt_call_method(object slow, object self, PyObject **args, Py_ssize_t nargs, PyObject *kwnames) except NULL
    int rt_deque_learn(object type) except -1
    int rt_deque_append(object q, object item) except -1
    object rt_deque_popleft(object q)
    Py_ssize_t rt_deque_len(object q) except -1
    object rt_call(object fn, PyObject **args, Py_ssize_t nargs)
    PyObject *rt_vectorcall(object fn, PyObject **args, Py_ssize_t nargs, PyObject *kwnames) except NULL
    PyObject *rt_new_none() noexcept
    bint rt_is_async_function(object fn) noexcept
    object rt_export()
    void rt_set_rank_throw(void (*f)(int, int, int) noexcept) noexcept
    void rt_set_lockrank(bint on) noexcept
    object rt_fetch_exc()
    void rt_raise(object exc) noexcept
    void rt_share(object op) noexcept
    void rt_usleep(long us) noexcept
    int rt_note_sleep(int *note, int64_t ns) noexcept
    int rt_note_pass(int *other, int *note, int64_t ns, int64_t spin) noexcept
    void rt_note_wakeup(int *note) noexcept
    void rt_sharp_sleeps() noexcept
    void rt_fence() noexcept
    int rt_note_doze(int *note, int64_t ns) noexcept nogil
    void rt_note_clear(int *note) noexcept
    void rt_gil_measure() noexcept
    void rt_gil_taken(int64_t since) noexcept
    int64_t rt_gil_waits(int i) noexcept
    object rt_list_pop(object items) noexcept
    void rt_list_put "PyList_SET_ITEM"(object items, Py_ssize_t i, object item) noexcept
    object rt_tuple(PyObject **items, Py_ssize_t n)
    PyObject *rt_tuple_at "PyTuple_GET_ITEM"(object items, Py_ssize_t i) noexcept
    void rt_gc_hide(object o) noexcept
    void rt_gc_show(object o) noexcept
    void rt_gc_hide_coro(object o) noexcept
    void rt_gc_show_coro(object o) noexcept
    int rt_claim(int *state) noexcept
    int rt_set_public(object cls, object home, object signature) except -1
    void rt_stack_bounds(long long *lo, long long *hi) noexcept
    int rt_tls_store(long long v) noexcept
    long long rt_tls_load() noexcept


# Only the uncompiled core needs these; rt.py says why.
cdef inline void own_dict(object obj) noexcept:
    pass

cdef inline object fields(object cls):
    return cls

cdef inline object with_keys(object cls):
    return None
