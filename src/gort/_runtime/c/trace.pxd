# trace.pxd: the C side of gort_trace.h for the compiled core.  trace.py has the same names for the uncompiled one.
from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t

cdef extern from "gort_trace.h":
    enum: RT_NO_STACK
    enum: RT_MY_STACK
    enum: RT_CORO_STACK
    void rt_trace_put(void **slot, int64_t tid, int kind, int run, int p, int64_t goid, int64_t arg, int how,
                      PyObject *of, PyObject *begins, int32_t outside) noexcept
    void rt_trace_outside(int kind, int run, int p, int64_t goid, int64_t arg, int64_t tid, PyObject *begins) noexcept
    int64_t rt_trace_begin(int fd, int64_t maxbytes, int64_t minage, bint keep) noexcept
    void rt_trace_end() noexcept
    void rt_trace_drop_ring() noexcept
    void rt_trace_forked() noexcept
    void rt_trace_close_spool() noexcept
    list rt_trace_chunks()
    dict rt_trace_stacks()
    int64_t rt_trace_now() noexcept
    void rt_trace_clock(bint ticks) noexcept
    double rt_trace_rate() noexcept
    int64_t rt_trace_zero() noexcept
    int64_t rt_trace_zerons() noexcept
    int64_t rt_trace_lost() noexcept
    int64_t rt_trace_cutoff() noexcept
    int64_t rt_trace_spooled() noexcept
    int rt_trace_error() noexcept
