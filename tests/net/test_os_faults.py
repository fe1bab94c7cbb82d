"""Faults of gort.os that users of other libraries reported, each with the right value.

What lives here: copy onto itself, copy that fails half-way, directories that cannot be read.  The ordinary use of
gort.os is in test_os_exec.py.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gort
import gort.os

DATA = b"what must not be lost" * 1000
SMALL = 1 << 24


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond SMALL: writing more fails with EFBIG (CPython ignores SIGXFSZ).  That is much, because the
    limit holds for a file too into which the output of the tests goes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("same", ["path", "hardlink", "symlink", "dots"])
def test_n1_copy_onto_itself(run1: Any, tmp_path: Path, same: str) -> None:
    source = tmp_path / "file"
    source.write_bytes(DATA)
    target = tmp_path / "other"
    if same == "hardlink":
        os.link(source, target)
    elif same == "symlink":
        target.symlink_to(source)
    else:
        target = source if same == "path" else tmp_path / ".." / tmp_path.name / "file"

    async def main() -> None:
        with pytest.raises(shutil.SameFileError, match="the same file"):
            await gort.os.copy(source, target)

    run1(main)
    assert source.read_bytes() == DATA


def test_n1_a_copy_that_fails_leaves_the_old_target(run1: Any, tmp_path: Path, small_files: None) -> None:
    source = tmp_path / "file"
    with open(source, "wb") as f:
        os.posix_fallocate(f.fileno(), 0, SMALL)
    with open("/dev/zero", "rb") as zero:
        target = tmp_path / "target"
        target.write_bytes(DATA)
        target.chmod(0o604)

        async def main() -> None:
            assert await gort.os.copy(source, tmp_path / "fits") == SMALL
            with pytest.raises(OSError, match="too large"):
                await gort.os.copy(f"/proc/self/fd/{zero.fileno()}", target)
            with pytest.raises(OSError, match="too large"):
                await gort.os.copy(f"/proc/self/fd/{zero.fileno()}", tmp_path / "new")

        run1(main)
    assert target.read_bytes() == DATA
    assert stat.S_IMODE(target.stat().st_mode) == 0o604
    assert sorted(os.listdir(tmp_path)) == ["file", "fits", "target"]


def test_n1_a_cancelled_copy_leaves_the_old_target(run1: Any, tmp_path: Path, monkeypatch: Any) -> None:
    target = tmp_path / "target"
    target.write_bytes(DATA)

    async def main() -> None:
        async with gort.Group() as group:
            h = group.go(gort.os.copy, "/dev/zero", target)
            while not any(name != "target" for name in os.listdir(tmp_path)):
                await gort.gosched()
            h.cancel()
        assert isinstance(h.exception(), gort.Cancelled)

    run1(main)
    assert target.read_bytes() == DATA
    assert os.listdir(tmp_path) == ["target"]


def test_n1_devices_are_written_and_neither_deleted_nor_changed(run1: Any, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(DATA)
    source.chmod(0o640)
    null, full = os.stat("/dev/null"), os.stat("/dev/full")
    for name, like in (("null", null), ("full", full)):
        try:
            os.mknod(tmp_path / name, like.st_mode, like.st_rdev)
            os.chmod(tmp_path / name, 0o666)
            open(tmp_path / name, "wb").close()
        except PermissionError:
            pytest.skip("this user cannot make device nodes")

    async def main() -> None:
        assert await gort.os.copy(source, tmp_path / "null") == len(DATA)
        with pytest.raises(OSError, match="No space left"):
            await gort.os.copy(source, tmp_path / "full")

    run1(main)
    for name in ("null", "full"):
        st = os.stat(tmp_path / name)
        assert stat.S_ISCHR(st.st_mode)
        assert stat.S_IMODE(st.st_mode) == 0o666


def test_n1_fifos_and_directories_are_refused(run1: Any, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(DATA)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()

    async def main() -> None:
        for pair in ((source, tmp_path / "fifo"), (tmp_path / "fifo", source)):
            with pytest.raises(shutil.SpecialFileError, match="named pipe"):
                await gort.os.copy(*pair)
        for pair in ((source, tmp_path / "folder"), (tmp_path / "folder", source)):
            with pytest.raises(IsADirectoryError):
                await gort.os.copy(*pair)
        with pytest.raises(FileNotFoundError):
            await gort.os.copy(source, tmp_path / "none" / "file")
        with pytest.raises(FileNotFoundError):
            await gort.os.copy(tmp_path / "none", source)

    run1(main)
    assert source.read_bytes() == DATA


def test_n1_a_symlink_keeps_pointing_and_its_file_is_replaced(run1: Any, tmp_path: Path) -> None:
    source, target, link, dangling = (tmp_path / name for name in ("source", "target", "link", "dangling"))
    source.write_bytes(DATA)
    target.write_bytes(b"old")
    link.symlink_to("target")
    dangling.symlink_to("made")

    async def main() -> None:
        await gort.os.copy(source, link)
        await gort.os.copy(source, dangling)

    run1(main)
    assert link.is_symlink()
    assert dangling.is_symlink()
    assert target.read_bytes() == (tmp_path / "made").read_bytes() == DATA


def test_n1_files_of_the_proc_system_are_copied_whole(run1: Any, tmp_path: Path) -> None:
    """They have size 0, and copy_file_range takes them for empty on some kernels."""

    async def main() -> None:
        n = await gort.os.copy("/proc/version", tmp_path / "version")
        assert n == len(Path("/proc/version").read_bytes())

    run1(main)
    assert (tmp_path / "version").read_bytes() == Path("/proc/version").read_bytes()


@pytest.mark.parametrize("error", [1, 5, 26])  # EPERM, EIO, ETXTBSY: what file systems have been seen to answer
def test_n11_copy_file_range_that_refuses_is_no_error(run1: Any, tmp_path: Path, monkeypatch: Any, error: int) -> None:
    asked = threading.Event()

    def refuse(*_args: Any) -> int:
        asked.set()
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    (tmp_path / "source").write_bytes(DATA)

    async def main() -> None:
        assert await gort.os.copy(tmp_path / "source", tmp_path / "target") == len(DATA)

    run1(main)
    assert asked.is_set()
    assert (tmp_path / "target").read_bytes() == DATA


async def walked(top: Path, **options: Any) -> list[str]:
    return sorted([os.path.relpath(entry.path, top) async for entry in gort.os.walk(top, **options)])


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), FileNotFoundError(2, "No such file")])
def test_n9_walk_goes_on_where_a_directory_cannot_be_read(
    run1: Any, tmp_path: Path, monkeypatch: Any, error: OSError
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    real = os.scandir

    def scandir(path: str) -> Any:  # whoever runs as root may read everything
        if path == str(tmp_path / "b"):
            raise type(error)(error.errno, error.strerror, path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    errors: list[OSError] = []

    def stop(e: OSError) -> None:
        raise e

    async def main() -> None:
        expected = ["a", "a/file", "b", "c", "c/file"]
        assert await walked(tmp_path) == expected
        assert await walked(tmp_path, on_error=errors.append) == expected
        with pytest.raises(type(error)):
            await walked(tmp_path, on_error=stop)
        with pytest.raises(type(error)):
            await walked(tmp_path / "b")  # there is nothing to walk

    run1(main)
    assert [(type(e), e.filename) for e in errors] == [(type(error), str(tmp_path / "b"))]


def test_n9_walk_enters_no_loop(run1: Any, tmp_path: Path) -> None:
    inner = tmp_path / "one" / "two"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    (inner / "up").symlink_to(tmp_path / "one")
    (inner / "self").symlink_to("self")
    (tmp_path / "also").symlink_to("one/two")
    errors: list[OSError] = []

    async def main() -> None:
        names = ["also", "also/file", "also/self", "also/up", "one", "one/two"]
        names += ["one/two/file", "one/two/self", "one/two/up"]
        through = ["also/up/two"]  # a link to a directory that it does not lie in is followed
        assert await walked(tmp_path, follow_links=True, on_error=errors.append) == sorted(names + through)
        assert await walked(tmp_path) == [n for n in names if not n.startswith("also/")]

    run1(main)
    assert {e.errno for e in errors} == {errno.ELOOP}
    assert {os.path.relpath(e.filename, tmp_path) for e in errors} == {"one/two/up", "also/up/two"}
