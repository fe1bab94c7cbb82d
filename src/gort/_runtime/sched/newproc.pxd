# newproc.pxd: the C signatures of newproc.py, the go statement.
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport G, M, P, Sched

cpdef newproc(Sched s, object fn, tuple args, dict kwargs, object done, bint system)
cpdef newproc_plain(object fn, object arg, object done)
cdef G make(Sched s, object fn, tuple args, dict kwargs, object done, bint system)
cdef G make_late(Sched s, object fn, tuple args)
cpdef newproc_in(Sched s, object fn, tuple args, object context, object code, int lasti, int64_t parent)
cpdef object current_context()
cpdef tuple make_from(Sched s, object fn, tuple args, dict kwargs, object done, object code, int lasti, bint system=*)
cpdef start(G g, object exc)
cpdef start_main(G g)
cpdef discard(G g)
cpdef tuple newproc_from(Sched s, object fn, tuple args, dict kwargs, object done, object code, int lasti)
cdef inline G new_g(Sched s, M m, object coro, object done, bint system)
cdef PyObject *go_fast(PyObject *self, PyObject **args, Py_ssize_t nargs, PyObject *kwnames) except NULL
cdef inline G gfget(Sched s, M m)
cdef G gfget_global(Sched s, M m, P p)
cdef void gfput_global(Sched s, G first, G last, int n) noexcept
cdef void gfput(Sched s, M m, G g) noexcept
cdef int64_t newgoid(Sched s, M m) noexcept
cpdef int64_t made(Sched s)
cdef inline int inherit_context(G g) except -1
cdef inline void clear_context(G g) noexcept
cdef void count_outside(Sched s, bint system) noexcept
cpdef int64_t gcount(Sched s)
cpdef int64_t busy(Sched s)
cpdef bint stays_free(M m, G g) noexcept
cpdef void forget(G g) noexcept
