"""The scheduler: what Go calls package runtime.  Private; its functions for users are in gort/runtime.py.

Seven rooms.  A room may import from those above it in this list, never from one below:

    c       the C that Cython cannot say, and its stand-ins for the uncompiled core
    core    the structures (G, M, P, sched, operations), the queues, handing Ps on, errors and dumps
    sched   making goroutines, finding and running them, timers, the number of Ps
    wait    what goroutines wait for: channels, select, locks, timers that users hold
    poll    readiness of descriptors, and the operations on them
    watch   sysmon, its reports, signals
    boot    the boot, running a program and ending it

wait, poll and watch do not know each other.
"""
