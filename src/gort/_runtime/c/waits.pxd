# waits.pxd: the C side of gort_waits.h for the compiled core.  waits.py has the same names for the uncompiled one.
from cpython.ref cimport PyObject

cdef extern from "gort_waits.h":
    void rt_waits_add(int which, PyObject *coro, int reason, double count, double ns) noexcept
    list rt_waits_sums(int which)
    void rt_waits_forked() noexcept
