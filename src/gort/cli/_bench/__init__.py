"""What `gort bench` is made of: the rows, the peers, the measuring, the report. See docs/benchmarks.md.

The programs that are measured are in `programs/`: `peers/` has one file for each peer, `go/` the Go program, `net/` two
that stand beside the rows.  Each can be used by itself, and uses nothing of gort but its public names.  They are run as
files, never imported, and nothing is written beside them: the Go program is compiled into the user's cache folder.
"""
