"""The names that held.pxd declares, for the uncompiled core, which does not look what frames hold."""


def _compiled_only(*args: object) -> object:
    raise NotImplementedError("only the compiled core calls this; see gort_held.h")


rt_held_new = rt_held_free = rt_held_add = rt_held_sums = _compiled_only
