# stacks.pxd: the C side of gort_stacks.h for the compiled core.  stacks.py has the same names for the uncompiled one.
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uintptr_t

cdef extern from "gort_stacks.h":
    ctypedef object (*rt_stoppedfunc)(object)
    ctypedef struct rt_seqs:
        pass
    ctypedef struct rt_record:
        PyObject *op
        PyObject *code
        int64_t since
        int i
        int status
        int lasti
        int stack
        int locked
    int rt_getters() except -1
    object rt_world_stopped(rt_stoppedfunc fn, object arg)
    list rt_thread_frames(long long ident)
    list rt_awaited_frames(object coro)
    list rt_kept(object coro)
    int rt_thread_places(long long ident, uintptr_t *words, int max) noexcept
    int rt_awaited_places(object coro, uintptr_t *words, int max) noexcept
    rt_seqs *rt_seqs_new() noexcept
    void rt_seqs_free(rt_seqs *t) noexcept
    int rt_seqs_number(rt_seqs *t, const uintptr_t *words, int n) noexcept
    rt_record *rt_records_new(Py_ssize_t n) noexcept
    uintptr_t *rt_words_new(int n) noexcept
