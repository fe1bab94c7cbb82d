"""What `gort bench` is made of: the rows, the peers, the measuring, the report. See docs/benchmarks.md.

The programs that are measured are not here but in the project's `bench/` (in a wheel: `gort/_bench`), one
file a peer, each usable by itself; nothing of gort but its public API is used by them.
"""
