# view.pxd: the C types of view.py.
cimport cython
from gort._runtime.web.response cimport Answer, Fields

cpdef str variable(bytes name)
cdef tuple status_of(object status)
cdef object port_of(object port)
cpdef dict scope_of(Fields exchange, str kind, str root, dict state)
cpdef list fields_of(object headers, dict known, object lowered)

@cython.final
@cython.freelist(64)
cdef class View:
    cdef readonly object app
    cdef readonly dict environ
    cdef readonly Fields exchange
    cdef readonly object over
    cdef dict names
    cdef object wrapper
    cdef object rules
    cdef object enter
    cdef readonly int status
    cdef readonly object reason
    cdef readonly list headers
    cdef public object body
    cdef readonly object file
    cdef public object error
    cdef readonly double took
    cdef tuple its
    cdef bint cancelled
    cpdef start(self)
    cpdef run(self)

@cython.final
cdef class Caller:
    cdef readonly object app
    cdef dict base
    cdef str root
    cdef object rules
    cdef object enter
    cdef object wrapper
    cdef dict names
    cdef object channel
    cdef list spare
    cdef tuple made
    cdef dict scores
    cdef object learn
    cdef dict template(self, object near, object scheme, bint named)
    cpdef dict environ(self, Fields exchange, object body)
    cpdef View ask(self, Answer exchange)
    cpdef answer(self, View view)
    cpdef View begin(self, Fields exchange, object body)
    cpdef finish(self, View view)
