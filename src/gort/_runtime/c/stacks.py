"""The names that stacks.pxd declares, for the uncompiled core.  It cannot stop the world, so it never calls them."""


def _compiled_only(*args: object) -> object:
    raise NotImplementedError("only the compiled core calls this; see gort_stacks.h")


rt_getters = rt_world_stopped = rt_thread_frames = rt_awaited_frames = _compiled_only
rt_thread_places = rt_awaited_places = rt_kept = _compiled_only
rt_seqs_new = rt_seqs_free = rt_seqs_number = rt_records_new = rt_words_new = _compiled_only
