# handles.pxd: the C types of handles.py.
cimport cython

@cython.freelist(64)
cdef class Handle:
    cdef public object _callback
    cdef public object _args
    cdef public object _loop
    cdef public object _context
    cdef public object _repr
    cdef public object _source_traceback
    cdef public bint _cancelled
    cdef object __weakref__

cdef class TimerHandle(Handle):
    cdef public object _when
    cdef public bint _scheduled
    cdef double at

cdef object copy_context()
cdef Handle make_handle(object loop, object callback, object args, object context)
cdef TimerHandle make_timer(object loop, object when, object callback, object args, object context)
cdef int run_handle(Handle h) except -1
