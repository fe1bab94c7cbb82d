"""The name that leak.pxd declares, for the uncompiled core, which does not look for leaks."""


def _compiled_only(*args: object) -> object:
    raise NotImplementedError("only the compiled core calls this; see gort_leak.h")


rt_unreachable = _compiled_only
