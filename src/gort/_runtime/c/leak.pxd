# leak.pxd: the C side of gort_leak.h for the compiled core.  leak.py has the same name for the uncompiled one.
cdef extern from "gort_leak.h":
    list rt_unreachable(list objects, list asked, list apart)
