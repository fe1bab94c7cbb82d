"""Boots the runtime, from _rt0 to mstart; runs a program and ends it; gort.wait for threads outside the runtime."""
