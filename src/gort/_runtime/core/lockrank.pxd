# lockrank.pxd: the lock order as C constants.  lockrank.py says what each rank guards.
cpdef enum:
    LOCK_RANK_SEMA = 10
    LOCK_RANK_HCHAN = 20
    LOCK_RANK_POLLDESC = 25
    LOCK_RANK_TIMERS = 30
    LOCK_RANK_G = 40
    LOCK_RANK_ALLG = 50
    LOCK_RANK_SCHED = 60
    LOCK_RANK_P = 70
    LOCK_RANK_NETPOLL = 80
