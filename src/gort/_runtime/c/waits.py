"""The names that waits.pxd declares, for the uncompiled core, which keeps its sums in a dict (core/contention.py)."""


def _compiled_only(*args: object) -> object:
    raise NotImplementedError("only the compiled core calls this; see gort_waits.h")


rt_waits_add = rt_waits_sums = rt_waits_forked = _compiled_only
