# seed.pxd: the C signatures and constants of seed.py, the order that GODEBUG=seed draws.
from libc.stdint cimport int64_t, uint64_t
from gort._runtime.core.runtime2 cimport G, M, Sched

cdef extern from *:  # typed constants: Cython would make these numbers Python ints
    const unsigned long long MASK64 "0xFFFFFFFFFFFFFFFFULL"
    const unsigned long long MIX0 "0x9E3779B97F4A7C15ULL"
    const unsigned long long MIX1 "0xBF58476D1CE4E5B9ULL"
    const unsigned long long MIX2 "0x94D049BB133111EBULL"

cdef enum:
    PREEMPT_SEED = 5
    SEED_STEP_NS = 1000
    SEED_TURNS = 4

cpdef reseed(Sched s, int64_t seed)
cpdef begin(Sched s)
cdef int drawn(M m, int n) noexcept
cdef int queues(Sched s, M m, G g, bint next) except -1
cdef bint turn(M m) noexcept
cdef void stopped(M m) noexcept
cpdef slept(Sched s, int64_t until, int64_t ns)
cdef uint64_t mrandseed(uint64_t seed, uint64_t id) noexcept
