# runtime2.pxd: the C types of the structures in runtime2.py.  What each field means, and what guards it, is said there.
cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t
from gort._runtime.c.rt cimport rt_mutex, rt_lock, rt_unlock, rt_getm
from gort._runtime.core.lockrank cimport LOCK_RANK_ALLG, LOCK_RANK_G, LOCK_RANK_P, LOCK_RANK_SCHED, LOCK_RANK_TIMERS

cpdef enum:
    _Gidle = 0
    _Grunnable = 1
    _Grunning = 2
    _Gsyscall = 3
    _Gwaiting = 4
    _Gdead = 6

cpdef enum:
    _Pidle = 0
    _Prunning = 1
    _Psyscall = 2
    _Pgcstop = 3
    _Pdead = 4

cpdef enum:
    MCALL_NONE = 0
    MCALL_PARK = 1
    MCALL_YIELD = 2
    MCALL_PASS = 3
    MCALL_EXIT = 4
    MCALL_THROW = 5
    MCALL_LOOP = 6

cpdef enum:
    OP_NEW = 0
    OP_PARKED = 1
    OP_DONE = 2

cpdef enum:
    READY = 0
    PARK = 1

cpdef enum:
    QUEUED = 1
    DEQUEUED = 2
    ATTEMPTING = 3

cpdef enum:
    SCOPE_IDLE = 0
    SCOPE_PENDING = 1
    SCOPE_RAISED = 2
    SCOPE_LEFT = 3

cpdef enum:
    SLICE_NS = 10000000


@cython.final
cdef class Note:
    cdef int woken
    cpdef bint sleep(self, double timeout=*)
    cpdef wakeup(self)
    cpdef clear(self)


cdef class Op:
    cdef public int kind
    cdef public int state
    cdef public int success
    cdef public int index
    cdef public int heapidx
    cdef public int64_t when
    cdef public G g
    cdef public object c
    cdef public object elem
    cdef public Op next
    cdef public Op prev
    cdef public object sel
    cpdef int begin(self, G g) except -1
    cpdef object finish(self)
    cpdef bint abort(self) except -1
    cpdef object cancelled(self, object exc)
    cpdef object undo(self)
    cpdef int reason(self) except -1
    cpdef int64_t owner(self) except -1


@cython.final
cdef class G:
    cdef rt_mutex mu
    cdef public bint parked
    cdef public bint readied
    cdef public Op waitop
    cdef public Scope scope
    cdef public bint cancelflag
    cdef public object cancelexc
    cdef public G standin
    cdef public int status
    cdef public object coro
    cdef public object fn
    cdef public object args
    cdef public object kwargs
    cdef PyObject *context
    cdef public object throw
    cdef public object trace
    cdef public object timer
    cdef public bint foreign
    cdef public M lockedm
    cdef public int64_t mid
    cdef public int64_t nrun
    cdef public int64_t waitsince
    cdef public int64_t blocksince
    cdef public int64_t runnablesince
    cdef public G schedlink
    cdef public int64_t goid
    cdef public Sched sched
    cdef public int64_t parentgoid
    cdef public object gocode
    cdef public int golasti
    cdef public int blockreason
    cdef public object done
    cdef public bint system
    cdef public bint thread
    cdef public Note note
    cdef public bint counted
    cdef inline void lock(self) noexcept:
        rt_lock(&self.mu, LOCK_RANK_G)
    cdef inline void unlock(self) noexcept:
        rt_unlock(&self.mu, LOCK_RANK_G)


@cython.final
cdef class Scope:
    cdef public G g
    cdef public int64_t goid
    cdef public Scope outer
    cdef public int state
    cdef public object exc
    cdef public bint force
    cdef public bint root
    cdef public bint shield


@cython.final
cdef class P:
    cdef rt_mutex mu
    cdef rt_mutex timersmu
    cdef public int id
    cdef public int status
    cdef public int64_t mid
    cdef public int64_t procid
    cdef public G runqhead
    cdef public G runqtail
    cdef public int runqsize
    cdef public G runnext
    cdef public G gfree
    cdef public int ngfree
    cdef public int64_t goidcache
    cdef public int64_t goidcacheend
    cdef public P link
    cdef public int64_t syscalltick
    cdef public list timers
    cdef object whens
    cdef public int64_t timer0when
    cdef public int64_t timerseq
    cdef public int64_t schedtick
    cdef public int64_t switchtick
    cdef public int64_t looptick
    cdef public bint preempt
    cdef public int64_t smtick
    cdef public int64_t smwhen
    cdef int64_t latencies[44]
    cdef inline void lock(self) noexcept:
        rt_lock(&self.mu, LOCK_RANK_P)
    cdef inline void unlock(self) noexcept:
        rt_unlock(&self.mu, LOCK_RANK_P)
    cdef inline void lock_timers(self) noexcept:
        rt_lock(&self.timersmu, LOCK_RANK_TIMERS)
    cdef inline void unlock_timers(self) noexcept:
        rt_unlock(&self.timersmu, LOCK_RANK_TIMERS)


@cython.final
cdef class M:
    cdef public int64_t id
    cdef public Sched sched
    cdef public G g0
    cdef public G gsignal
    cdef public Note park
    cdef public object thread
    cdef public bint started
    cdef public int64_t ident
    cdef public int64_t procid
    cdef public int64_t stacklo
    cdef public int64_t stackhi
    cdef public int64_t stackguard0
    cdef public int64_t stackguard1
    cdef public object sigmask
    cdef public G curg
    cdef public P p
    cdef public bint spinning
    cdef public bint insyscall
    cdef public int preempt
    cdef public uint64_t rand
    cdef public object stretch
    cdef public int64_t lent
    cdef public int64_t ngs
    cdef void *tracebuf
    cdef public bint preempted
    cdef public int mcall
    cdef public Op parkop
    cdef public object retval
    cdef public object exc
    cdef public bint idle
    cdef public P nextp
    cdef public G lockednext
    cdef public Op ownwait
    cdef public bint polling
    cdef public bint idlelocked
    cdef public bint defers
    cdef public Note towake
    cdef public bint quick
    cdef public M schedlink
    cdef public G lockedg
    cdef public int lockcount


@cython.final
cdef class Sched:
    cdef rt_mutex mu
    cdef rt_mutex allgmu
    cdef public int ncpu
    cdef public object debug
    cdef public int hooks
    cdef public int traceid
    cdef public object record
    cdef public int64_t seed
    cdef public M m0
    cdef public object maing
    cdef public int64_t maingoid
    cdef public object mstart
    cdef public object external
    cdef public object agenhooks
    cdef public object agens
    cdef public object report
    cdef public Note pollnote
    cdef public Note sysmonnote
    cdef public Note m0note
    cdef public object stoplock
    cdef public object predictor
    cdef public int predicting
    cdef public object chooser
    cdef public object waiters
    cdef public G runqhead
    cdef public G runqtail
    cdef public int64_t runqsize
    cdef public M midle
    cdef public M starting
    cdef public int nmidle
    cdef public int nmidlelocked
    cdef public int64_t mnext
    cdef public int64_t nmfreed
    cdef public int64_t maxmcount
    cdef public P pidle
    cdef public int npidle
    cdef public int nmspinning
    cdef public int npolling
    cdef public int64_t polluntil
    cdef public G gfree
    cdef public int ngfree
    cdef public int64_t ngs
    cdef public int64_t goidgen
    cdef public bint sysmonwait
    cdef public bint gcwaiting
    cdef public bint exiting
    cdef public object fatal
    cdef public int nmstartfailed
    cdef public int64_t nsyscall
    cdef public list allgs
    cdef public list allp
    cdef public list oldallps
    cdef public list allm
    cdef public int gomaxprocs
    cdef public list stealorder
    cdef public object netpoll
    cdef public int64_t lastpoll
    cdef public bint panicking
    cdef public object result
    cdef public object exc
    cdef public bint ending
    cdef public bint maingone
    cdef public bint m0left
    cdef public int64_t vnow
    cdef public object bubble
    cdef public object alarm
    cdef public bint hosting
    cdef public object sysmon
    cdef public int nmsys
    cdef public int64_t coarsetime
    cdef public int nexternal
    cdef public int64_t nhandoff
    cdef public int64_t npreempt
    cdef public object blockedcalls
    cdef public int64_t blockedns
    cdef public object onblocked
    cdef public double switchinterval
    cdef public bint interrupted
    cdef public bint interruptsent
    cdef public int64_t interruptedat
    cdef public int asyncsent
    cdef public bint caninterrupt
    cdef inline void lock(self) noexcept:
        rt_lock(&self.mu, LOCK_RANK_SCHED)
    cdef inline void unlock(self) noexcept:
        rt_unlock(&self.mu, LOCK_RANK_SCHED)
    cdef inline void lock_allg(self) noexcept:
        rt_lock(&self.allgmu, LOCK_RANK_ALLG)
    cdef inline void unlock_allg(self) noexcept:
        rt_unlock(&self.allgmu, LOCK_RANK_ALLG)


cdef inline M getm():
    # Two returns: at each call Cython would check the type of a conditional expression.
    cdef PyObject *m = rt_getm()
    if m == NULL:
        return None
    return <M>m

cpdef M current_m()
cpdef G getg()
cpdef tuple peek(G g)
cdef void never(PyObject *op) noexcept
cdef void rank_throw(int held, int rank, int same) noexcept
