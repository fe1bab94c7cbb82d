"""The scheduler: what Go calls package runtime.  Private; its functions for users are in gort/runtime.py.

Eight rooms.  A room may import from those above it in this list, never from one below:

    c       the C that Cython cannot say, and its stand-ins for the uncompiled core
    core    the structures (G, M, P, sched, operations), the run queues, the handoff of Ps, errors and dumps
    sched   makes goroutines, finds and runs them; timers; the number of Ps
    wait    what goroutines wait for: channels, select, locks, timers that users hold
    poll    the readiness of descriptors, and the operations on them
    watch   sysmon, its reports, signals
    see     what a person sees of a running program: looks, what is wrong, the live page, metrics
    boot    boots the runtime, runs a program and ends it

wait, poll and watch do not import each other.
"""
