# held.pxd: the C side of gort_held.h for the compiled core.  held.py has the same names for the uncompiled one.
cdef extern from "gort_held.h":
    ctypedef struct rt_held:
        pass
    rt_held *rt_held_new(list types) noexcept
    void rt_held_free(rt_held *h) noexcept
    int rt_held_add(rt_held *h, object coro, int stack) noexcept
    list rt_held_sums(const rt_held *h)
