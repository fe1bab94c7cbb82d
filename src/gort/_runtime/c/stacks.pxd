# stacks.pxd: the C side of gort_stacks.h for the compiled core.  stacks.py has the same names for the uncompiled one.
cdef extern from "gort_stacks.h":
    ctypedef object (*rt_stoppedfunc)(object)
    int rt_getters() except -1
    object rt_world_stopped(rt_stoppedfunc fn, object arg)
    list rt_thread_frames(long long ident)
    list rt_awaited_frames(object coro)
