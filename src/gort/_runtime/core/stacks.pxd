# stacks.pxd: the C types of stacks.py.
from libc.stdint cimport int64_t, uintptr_t
from gort._runtime.c.stacks cimport rt_record, rt_seqs
from gort._runtime.core.runtime2 cimport G, M, Op

cdef class Census:
    cdef list gs
    cdef list ms
    cdef G without
    cdef list samples
    cdef rt_seqs *table
    cdef uintptr_t *words
    cdef rt_record *records
    cdef int n

cdef class Wanted:
    cdef readonly object op
    cdef readonly object c
    cdef readonly int64_t count

cdef class Group:
    cdef readonly int64_t count
    cdef readonly object g
    cdef readonly list goids
    cdef readonly list members
    cdef readonly int status
    cdef readonly int reason
    cdef readonly int64_t since
    cdef readonly bint locked
    cdef readonly object code
    cdef readonly int lasti
    cdef readonly int64_t parent
    cdef readonly bint runs
    cdef readonly object frames
    cdef public object text
    cdef readonly list wanted
    cdef readonly int64_t others
    cdef add(self, G g, int64_t since, Op op)
    cdef want(self, Op op, object c, int64_t count)

cdef bint waits_in_place(G g) noexcept
cdef object gather(object asked)
cdef object gather_kept(object gs)
cdef object gather_thread(object ident)
cdef object look(object asked)
cdef int note(Census census, G g, int i) except -1
cdef list counted(Census census)
cdef int release(Census census) except -1
