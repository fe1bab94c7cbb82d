# stacks.pxd: the C signatures of stacks.py.
from gort._runtime.core.runtime2 cimport G, M

cdef object gather(object asked)
cdef object gather_thread(object ident)
