"""Hostile files and programs: bounded, refused in one line, and without effect on the host. `fuzz.py` is the long
form.
"""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from pathlib import Path

import fuzz
import pytest

from gort.xray.boot.follow import Options, examine, xray
from gort.xray.emulate.clock import Clock
from gort.xray.emulate.machine import Fault, Machine
from gort.xray.emulate.process import Process
from gort.xray.show.paper import Paper
from gort.xray.show.report import print_report
from gort.xray.systems.calls import BLOCKED
from gort.xray.systems.darwin import Darwin
from gort.xray.systems.linux import Linux
from gort.xray.systems.system import System
from gort.xray.systems.windows import Windows

pytestmark = pytest.mark.go


@pytest.mark.parametrize("variant", ["default", "stripped", "pie", "arm64-stripped", "darwin-arm64", "windows-amd64"])
def test_mutated_files(build: Callable[..., Path], tmp_path: Path, variant: str) -> None:
    """A short run of the fuzzer, the same in every run: each outcome is a report or one line."""
    program = build("hello", variant)
    original, ranges = program.read_bytes(), fuzz.places(program)
    bad = []
    for n in range(6):
        rng = random.Random(f"{variant} {n}")
        path = tmp_path / "mutated"
        path.write_bytes(fuzz.mutate(bytearray(original), ranges, rng))
        result = fuzz.in_child(path, 150_000)
        if result.startswith("FINDING"):
            bad.append((n, result))
    assert bad == []


@pytest.fixture
def linux(hello: Path):  # type: ignore[no-untyped-def]
    """An emulated process without a program, to give code and system calls to."""
    with examine(hello) as static:
        machine = Machine("amd64", 4 << 20, Clock())
        yield Linux(Process(machine, static.symbols, cpus=2), "/hello")


def start(system: System, code: bytes) -> Process:
    """Give the process a first thread that runs this code."""
    process, machine = system.process, system.machine
    machine.memory.load(0x10000, 4096, 7, code)
    machine.set_reg("rip", 0x10000)
    machine.set_reg("rsp", 0x10F00)
    process.add_thread(machine.context())
    return process


def test_an_endless_loop_ends(linux: Linux) -> None:
    ended = start(linux, b"\xeb\xfe").run(linux, 100_000)
    assert ended.how == "steps"


def test_an_endless_string_instruction_ends(linux: Linux) -> None:
    process = start(linux, bytes.fromhex("48c7c1ffffffff 31ff bf00000100 f3a4 ebf0".replace(" ", "")))
    ended = process.run(linux, 100_000)
    assert ended.how in ("steps", "fault")


def test_endless_system_calls_end(linux: Linux, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gort.xray.systems.linux._MAX_CALLS", 1000)
    process = start(linux, bytes.fromhex("b827000000 0f05 ebf7".replace(" ", "")))  # getpid, again and again
    ended = process.run(linux, 10_000_000)
    assert ended.how == "steps"
    assert "system calls" in ended.detail


def test_memory_is_bounded(linux: Linux) -> None:
    p = start(linux, b"\x90")
    big = linux.handlers["mmap"](0, 1 << 40, 3, 0x22, 2**64 - 1, 0)
    assert big > 0  # reserving costs nothing
    assert p.machine.memory.used < 1 << 20
    # write one byte to each page from there on
    code = b"\x48\xb8" + struct.pack("<Q", big) + bytes.fromhex("c60001 4805 00100000 ebf5".replace(" ", ""))
    linux.machine.write(0x10000, code)
    with pytest.raises(Exception, match="more than the 4 MiB"):
        p.run(linux, 10_000_000)
    assert p.machine.memory.used <= 4 << 20


def test_threads_are_bounded(linux: Linux) -> None:
    p = start(linux, b"\x90")
    results = [linux.handlers["clone"](0x50F00, 0x10800, 0, 0, 0, 0) for _ in range(p.max_threads + 5)]
    assert results[-1] == -11
    assert len(p.threads) <= p.max_threads


def test_every_system_call_survives_absurd_arguments(linux: Linux) -> None:
    p = start(linux, b"\x90")
    rng = random.Random(7)
    values = (0, 1, 2, 3, 4096, 0x10000, 0x10FF8, 0x7FFFFFFFFFFF, 1 << 47, 1 << 63, (1 << 64) - 1, 0xFFFFFFFF)
    for name, handler in sorted(linux.handlers.items()):
        for _ in range(60):
            p.ended = None
            p.threads[0].state, p.threads[0].wait = "runnable", None
            result = handler(*(rng.choice(values) for _ in range(6)))
            assert isinstance(result, int), name
            assert -4096 < result < 1 << 48 or result <= BLOCKED, (name, result)


def test_unmapped_memory_and_bad_code_are_faults(linux: Linux) -> None:
    p = start(linux, bytes.fromhex("48a10000000000000000"))  # mov rax, [0]
    assert p.run(linux, 1000).how == "fault"


def test_a_jump_to_nowhere(linux: Linux) -> None:
    start(linux, b"\x0f\x0b")
    with pytest.raises(Fault):
        linux.machine.run(0x10000, 100, linux.syscall)
    with pytest.raises(Fault):
        linux.machine.run(0x123456789, 200, linux.syscall)


@pytest.mark.parametrize("system", [Darwin, Windows])
def test_a_system_call_past_the_library_ends_the_run(hello: Path, system: type[Darwin | Windows]) -> None:
    with examine(hello) as static:
        machine = Machine("amd64", 4 << 20, Clock())
        process = Process(machine, static.symbols, cpus=2)
        kernel = system(process)
        ended = start(kernel, bytes.fromhex("b8040000020f05")).run(kernel, 1000)  # mov eax, 0x2000004; syscall
    assert ended.how == "unsupported"
    assert "system call 0x2000004 was made without" in ended.detail


def test_names_in_the_file_do_not_steer_the_terminal(build: Callable[..., Path], tmp_path: Path) -> None:
    data = build("hello", "default").read_bytes()
    bad = tmp_path / "bad"
    bad.write_bytes(
        data.replace(b"main.Hello\0", b"m\x1b[31m\nxxx\0", 1).replace(b"\0.gopclntab\0", b"\0.go\x1b]0;xx\n\0")
    )
    console = Paper(file=io.StringIO(), width=200)
    with xray(bad, Options(until="exit")) as report:
        print_report(report, console, full=True)
    text = console.file.getvalue()
    assert "\x1b" not in text
    assert "x1b[31m" in text or "x1b]0;" in text


def test_the_processors_clock_is_the_virtual_one(linux: Linux) -> None:
    """RDTSC and RDTSCP do not show the host's time: two runs of one program are the same."""
    #   rdtsc; mov esi, eax; rdtscp; sub eax, esi; mov edi, eax; mov eax, 231 (exit_group); syscall
    code = bytes.fromhex("0f3189c60f01f929f089c7b8e70000000f05")
    ended = start(linux, code).run(linux, 1000)
    assert (ended.how, ended.status) == ("exit", 0)
