"""Digests a directory tree: a walker goroutine, a bounded set of digesters, a collector; the first error cancels all.

    gort run examples/digest.py [DIRECTORY] [--list] [--jobs N] [--quiet]

Without DIRECTORY it digests the standard library of the interpreter in use, without its site-packages.  --list prints a
line for each file as `sha256sum` does (`gort run examples/digest.py DIR --list | sha256sum --check` agrees).  The
combined digest is the SHA-256 of such lines, with names relative to the tree.  So two trees have the same combined
digest exactly when they hold the same files under the same names.

The program is the pipeline that every Go programmer knows.  The walker sends paths; the digesters receive paths and
send results; main collects.  There are --jobs digesters (default: twice the usable CPUs, at least 4).  They read and
hash in gort.blocking: the call releases the GIL while it reads and while it hashes large blocks, and other goroutines
go on meanwhile.  The walker follows no symbolic links, and leaves out what is neither a file nor a directory.

Exit status: 0; 1 when something cannot be read (the message names it); 2 for wrong arguments; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import sysconfig
import time
from dataclasses import dataclass, field

import gort
from gort import context

BLOCK = 1 << 18  # bytes read at a time; well above the size from which hashlib releases the GIL
BATCH = 16  # files that a digester takes at a time: a channel operation and a blocking call for each batch
PROGRESS = 0.5  # seconds between two progress lines on a terminal; elsewhere ten times as long


@dataclass
class Result:
    """One file."""

    path: str
    digest: str
    size: int


@dataclass
class Total:
    """The results that the collector has received."""

    results: list[Result] = field(default_factory=list)
    size: int = 0
    start: float = field(default_factory=time.monotonic)

    def line(self) -> str:
        """Files, bytes, time and speed so far, as text."""
        seconds = max(time.monotonic() - self.start, 1e-9)
        mib = self.size / (1 << 20)
        return f"{len(self.results):,} files, {self.size:,} bytes, {seconds:.2f} s, {mib / seconds:.1f} MiB/s"


def list_directory(path: str) -> tuple[list[str], list[str]]:
    """The regular files and the directories in a directory, each in order."""
    files, directories = [], []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                files.append(entry.path)
    return sorted(files), sorted(directories)


def digest_files(paths: list[str]) -> list[Result]:
    """SHA-256 of each file."""
    buffer = memoryview(bytearray(BLOCK))
    results = []
    for path in paths:
        sha, size = hashlib.sha256(), 0
        with open(path, "rb", buffering=0) as f:
            while n := f.readinto(buffer):
                sha.update(buffer[:n])
                size += n
        results.append(Result(path, sha.hexdigest(), size))
    return results


async def walk(ctx: context.Context, root: str, skip: str, paths: gort.Chan[list[str]]) -> None:
    """Sends the tree's files in batches, without those under `skip`; returns early when ctx is done."""
    done = ctx.done()
    pending = [root]
    batch: list[str] = []
    while pending:
        files, directories = await gort.blocking(list_directory, pending.pop())
        pending.extend(d for d in reversed(directories) if d != skip)
        batch += files
        while len(batch) >= BATCH or (batch and not pending):
            case, _, _ = await gort.select(done.recv(), paths.send(batch[:BATCH]))
            if case == 0:
                return
            batch = batch[BATCH:]


async def digest(ctx: context.Context, paths: gort.Chan[list[str]], results: gort.Chan[list[Result]]) -> None:
    """Digests batches until there are no more, or ctx is done."""
    done = ctx.done()
    async for batch in paths:
        digested = await gort.blocking(digest_files, batch)
        case, _, _ = await gort.select(done.recv(), results.send(digested))
        if case == 0:
            return


async def digest_tree(root: str, skip: str, jobs: int, show: Progress) -> Total:
    """The whole pipeline.  Raises the first OSError, after everything has stopped."""
    paths: gort.Chan[list[str]] = gort.Chan()
    results: gort.Chan[list[Result]] = gort.Chan()
    ctx, cancel = context.with_cancel_cause(context.background())
    workers = gort.sync.WaitGroup()

    async def walker() -> None:
        try:
            await walk(ctx, root, skip, paths)
        except OSError as error:
            cancel(error)
        finally:
            paths.close()

    async def digester() -> None:
        try:
            await digest(ctx, paths, results)
        except OSError as error:
            cancel(error)

    async def closer() -> None:
        await workers.wait()
        results.close()

    workers.go(walker)
    for _ in range(jobs):
        workers.go(digester)
    gort.go(closer)

    total = Total()
    ticker = gort.Ticker(show.interval)
    with cancel:
        while True:
            case, batch, ok = await gort.select(results.recv(), ticker.c.recv())
            if case == 1:
                show(total.line())
            elif ok:
                total.results += batch
                total.size += sum(result.size for result in batch)
            else:
                break
        ticker.stop()
        why = context.cause(ctx)
    if why is not None:
        raise why
    total.results.sort(key=lambda result: result.path)
    return total


class Progress:
    """A line on stderr now and then: rewritten in place on a terminal."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.terminal = sys.stderr.isatty()
        self.interval = PROGRESS if self.terminal else 10 * PROGRESS
        self.shown = False

    def __call__(self, text: str) -> None:
        if self.quiet:
            return
        self.shown = True
        sys.stderr.write(f"\r\x1b[K{text}" if self.terminal else f"{text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Erases the line, before anything else is printed."""
        if self.shown and self.terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def listing_line(result: Result) -> str:
    """A line as `sha256sum` prints it, with its escapes for names that contain a backslash or the end of a line."""
    name = result.path
    if not any(c in name for c in "\\\n\r"):
        return f"{result.digest}  {name}\n"
    name = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"\\{result.digest}  {name}\n"


def combined_digest(total: Total, root: str) -> str:
    """The digest of the tree's listing, with names relative to the root."""
    sha = hashlib.sha256()
    for result in total.results:
        relative = Result(os.path.relpath(result.path, root), result.digest, result.size)
        sha.update(os.fsencode(listing_line(relative)))
    return sha.hexdigest()


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses the command line.  Exits with status 2 where it is wrong."""
    parser = argparse.ArgumentParser(prog="digest.py", description="Digest a directory tree with goroutines.")
    parser.add_argument("directory", nargs="?", help="default: the standard library")
    parser.add_argument("--list", action="store_true", help="print a line for each file, as sha256sum does")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--jobs", type=int, default=max(4, 2 * gort.runtime.num_cpu()), help="how many digesters")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs must be at least 1, not {args.jobs}")
    args.skip = ""
    if args.directory is None:
        args.directory = sysconfig.get_path("stdlib")
        args.skip = os.path.join(args.directory, "site-packages")
    if not os.path.isdir(args.directory):
        what = "is not a directory" if os.path.exists(args.directory) else "does not exist"
        parser.error(f"{args.directory} {what}; give the directory to digest")
    return args


async def main() -> None:
    """Digests the tree and prints the totals."""
    args = parse(sys.argv[1:])
    show = Progress(args.quiet)
    if not args.list:
        core = "compiled" if gort.runtime.compiled else "uncompiled"
        procs = gort.runtime.gomaxprocs()
        print(f"digesting {args.directory} ({args.jobs} digesters, GOMAXPROCS={procs}, {core} core)")
        sys.stdout.flush()
    try:
        total = await digest_tree(args.directory, args.skip, args.jobs, show)
    except OSError as error:
        show.clear()
        sys.stderr.write(f"digest.py: {error.filename or args.directory}: {error.strerror or error}\n")
        sys.exit(1)
    show.clear()
    if args.list:
        sys.stdout.buffer.write(b"".join(os.fsencode(listing_line(result)) for result in total.results))
        sys.stdout.buffer.flush()
        return
    print(total.line())
    print(f"combined digest {combined_digest(total, args.directory)}")


if __name__ == "__main__":
    gort.run(main)
