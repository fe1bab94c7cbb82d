# held.pxd: the C types of held.py.
from libc.stdint cimport uintptr_t
from gort._runtime.c.held cimport rt_held
from gort._runtime.c.stacks cimport rt_seqs
from gort._runtime.core.runtime2 cimport G

cdef class Walk:
    cdef list gs
    cdef list stacks
    cdef rt_seqs *table
    cdef uintptr_t *words
    cdef rt_held *held

cdef object look(object asked)
cdef bint add(Walk walk, G g) except -1
