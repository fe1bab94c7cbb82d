"""What stacks.pxd declares, for the uncompiled core, which cannot stop the world and has no use for it."""


def _compiled_only(*args: object) -> object:
    raise NotImplementedError("only the compiled core calls this; see gort_stacks.h")


rt_world_stopped = rt_thread_frames = rt_awaited_frames = _compiled_only
