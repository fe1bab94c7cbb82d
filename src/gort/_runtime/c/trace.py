"""The names that trace.pxd declares, for the uncompiled core, which keeps its events in lists (core/tracing.py)."""


def _compiled_only(*args: object) -> object:
    raise NotImplementedError("only the compiled core calls this; see gort_trace.h")


# Which stack an event gets: none, its thread's, a coroutine's.
RT_NO_STACK = 0
RT_MY_STACK = 1
RT_CORO_STACK = 2
rt_trace_put = rt_trace_outside = rt_trace_begin = rt_trace_end = rt_trace_drop_ring = _compiled_only
rt_trace_close_spool = rt_trace_chunks = rt_trace_stacks = rt_trace_lost = rt_trace_cutoff = _compiled_only
rt_trace_now = rt_trace_clock = rt_trace_rate = rt_trace_zero = rt_trace_zerons = _compiled_only
rt_trace_spooled = rt_trace_error = rt_trace_forked = _compiled_only
