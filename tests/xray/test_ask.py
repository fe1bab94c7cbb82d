"""Questions about a run: where to stop, what to print, who wrote a variable; and names in the disassembly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gort.xray.ask.expression import Expression, Scope
from gort.xray.boot.follow import Boot, Options, examine, xray
from gort.xray.emulate.disasm import Disassembler
from gort.xray.errors import XrayError
from gort.xray.file.symbols import Symbols

VARIANTS = ("default", "stripped", "pie", "arm64", "arm64-stripped")


def follow(path: Path, **options: object) -> Boot:
    with xray(path, Options(argv=["hello"], cpus=2, **options)) as report:  # type: ignore[arg-type]
        assert report.boot is not None
        return report.boot


def printed(boot: Boot) -> dict[str, str]:
    return {p.text: p.value for p in boot.printed}


@pytest.mark.go
@pytest.mark.parametrize("variant", VARIANTS)
def test_values_are_those_of_the_state(build: Callable[..., Path], variant: str) -> None:
    fields = ["runtime.sched.maxmcount", "runtime.g0.stack.lo", "runtime.m0.g0", "runtime.allp[1].id"]
    more = ["*runtime.m0.g0", "&runtime.g0", "runtime.gomaxprocs", "runtime.m0.curg.startpc", "0x10"]
    boot = follow(build("hello", variant), prints=[*fields, *more])
    got, state = printed(boot), boot.snapshot
    for text in fields:
        assert int(got[text].split()[0], 0) == state[text.removeprefix("runtime.")], text
    assert got["runtime.gomaxprocs"] == "2"
    assert got["&runtime.g0"].startswith(hex(state["m0.g0"]))
    assert got["*runtime.m0.g0"].startswith("{stack: {lo: " + hex(state["g0.stack.lo"]))
    assert got["runtime.m0.curg.startpc"].endswith(" (runtime.main)")
    assert got["0x10"] == "0x10"


@pytest.mark.go
def test_values_of_every_kind(hello: Path) -> None:
    texts = {
        "runtime.buildVersion": '"go1.',
        "runtime.allp": "len 2 cap 2 [0x",
        "runtime.sched.gFree": "{",
        "runtime.mainStarted": "true",
        "runtime.allp[7]": "[7] is beyond its 2 elements",
        "runtime.allp[0].nosuch": "runtime.p has no field nosuch; it has id, status",
        "runtime.forcegc.g": "0x",
        "runtime.physPageSize": "0x1000",
        "*0x1": "(there is no memory at 0x1)",
        "runtime.sched.gcwaiting": "false",
        "$rip": "0x",
    }
    boot = follow(hello, prints=list(texts))
    for text, beginning in texts.items():
        assert printed(boot)[text].startswith(beginning), (text, printed(boot)[text])
    m0 = boot.globals.m0
    assert printed(follow(hello, prints=[f"runtime.m({m0}).id"])) == {f"runtime.m({m0}).id": "0"}


@pytest.mark.go
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("runtime.shed", "no such variable in the file; did you mean runtime.sched"),
        ("sched", "write it as runtime.sched.maxmcount"),
        ("runtime.allp[", "write it as"),
        ("runtime.allp[x]", "x is no number"),
        ("runtime.allp]", "write it as"),
        ("", "write it as"),
        ("*" * 500 + "runtime.allp", "write it as"),
        ("runtime.nosuch(0x10)", "the file describes no such type"),
    ],
)
def test_expressions_that_are_wrong(hello: Path, text: str, says: str) -> None:
    with examine(hello) as static, pytest.raises(XrayError) as caught:
        Expression(text, Scope(static.symbols)).value()
    assert says in str(caught.value)


@pytest.mark.go
def test_a_register_that_is_not_there(hello: Path) -> None:
    with pytest.raises(XrayError, match=r"\$x9: no such register; there are rax"):
        follow(hello, prints=["$x9"])


@pytest.mark.go
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_change_of_a_variable_is_listed(build: Callable[..., Path], variant: str) -> None:
    path = build("hello", variant)
    boot = follow(path, watches=["runtime.sched.maxmcount", "runtime.g0.stackguard0", "runtime.gomaxprocs"])
    maxmcount, guard, procs = boot.watched
    assert [(w.old, w.new) for w in maxmcount.writes] == [(0, 10000)]
    assert maxmcount.writes[0].callers[0].startswith("runtime.schedinit+")
    assert maxmcount.writes[0].callers[1].startswith("runtime.rt0_go+")
    assert [w.new for w in procs.writes] == [2]
    assert procs.writes[0].callers[0].startswith("runtime.procresize+")
    assert [w.old for w in guard.writes[1:]] == [w.new for w in guard.writes[:-1]]
    assert guard.writes[-1].new == boot.snapshot["g0.stackguard0"]
    # What is named is the store itself, and not only its block.
    with examine(path) as static:
        code = Disassembler(static.symbols)
        for write in (*maxmcount.writes, *guard.writes, *procs.writes):
            func = static.symbols.at(write.pc)
            assert func is not None
            _, _, mnemonic, operands = next(i for i in code.code(func) if i[0] == write.pc)
            assert mnemonic.startswith(("mov", "xchg", "st")), (mnemonic, operands)
            assert "[" in operands


@pytest.mark.go
def test_a_watch_changes_nothing_and_follows_goroutines(hello: Path) -> None:
    plain = follow(hello, until="exit")
    watching = follow(hello, until="exit", watches=["runtime.sched.nmidle"])
    assert watching.instructions == plain.instructions
    (nmidle,) = watching.watched
    assert nmidle.changes == len(nmidle.writes) > 2
    assert [w.old for w in nmidle.writes[1:]] == [w.new for w in nmidle.writes[:-1]]
    # startm runs on the system stack: its callers are found on the goroutine's own stack behind it.
    assert any("runtime.systemstack" in "".join(w.callers) and w.goroutine for w in nmidle.writes)


@pytest.mark.go
@pytest.mark.parametrize("text", ["runtime.m0", "$rsp", "runtime.m0.curg.goid"])
def test_what_cannot_be_watched(hello: Path, text: str) -> None:
    with pytest.raises(XrayError, match="--watch"):
        follow(hello, watches=[text])


@pytest.mark.go
@pytest.mark.parametrize("variant", ["default", "stripped", "arm64", "pie"])
def test_a_run_stops_at_a_line_or_an_address(build: Callable[..., Path], variant: str) -> None:
    path = build("hello", variant)
    line = follow(path, until="hello.go:11", prints=["$pc" if "arm64" in variant else "$rip"])
    assert (line.how, line.detail) == ("until", "hello.go:11 was reached")
    (pc,) = (int(p.value.split()[0], 16) for p in line.printed)
    with examine(path) as static:
        assert static.symbols.tab.line(pc)[1] == 11
        main = static.symbols.func("main.main")
        assert main is not None
        assert main.entry <= pc < main.end
        names = {f"main.main+{pc - main.entry:#x}", hex(pc), hex(pc - static.image.bias)}
    for text in names:
        again = follow(path, until=text)
        assert (again.how, again.instructions) == ("until", line.instructions), text
        assert again.stations[-1].name == f"main.main+{pc - main.entry:#x}"


@pytest.mark.go
@pytest.mark.parametrize(
    ("until", "says"),
    [
        ("hello.go:1", "line 1 has no code; the next line that has some is 6"),
        ("hello.go:100000", "line 100000 has no code, and none behind it has"),
        ("other.go:1", "no code comes from a file of this name"),
        ("0x10", "there is no function of Go at this address"),
        ("0xzz", "0xzz is no number"),
        ("main.mian+0x10", "did you mean main.main"),
    ],
)
def test_places_that_are_not_there(hello: Path, until: str, says: str) -> None:
    with pytest.raises(XrayError) as caught:
        follow(hello, until=until)
    assert says in str(caught.value)


@pytest.mark.go
def test_no_stop_within_an_instruction(hello: Path) -> None:
    with examine(hello) as static:
        func = static.symbols.func("runtime.schedinit")
        assert func is not None
        address, size, *_ = next(i for i in Disassembler(static.symbols).code(func) if i[1] > 1)
    assert size > 1
    with pytest.raises(XrayError, match=f"within an instruction, which begins at {address:#x}"):
        follow(hello, until=hex(address + 1))


@pytest.mark.go
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_disassembly_names_data(build: Callable[..., Path], variant: str) -> None:
    from gort.xray.layout.globals import named

    path = build("hello", variant)
    boot = follow(path)
    with examine(path) as static:
        names = named(boot.globals, boot.layouts)
        comments = [
            c for _, _, c in Disassembler(static.symbols).text(_func(static.symbols, "runtime.rt0_go"), 500, names)
        ]
    for name in ("runtime.g0", "runtime.m0", "runtime.check"):
        assert any(c.startswith(name) for c in comments), (name, comments)
    if "stripped" not in variant:
        assert any(c.startswith("runtime.mainPC") for c in comments)


def _func(symbols: Symbols, name: str):  # type: ignore[no-untyped-def]
    func = symbols.func(name)
    assert func is not None
    return func


@pytest.mark.go
@pytest.mark.parametrize("variant", ["default", "arm64"])
def test_what_the_boot_sets_beside_its_structures(build: Callable[..., Path], variant: str) -> None:
    with xray(build("hello", variant), Options(argv=["hello", "a", "b"], cpus=6)) as report:
        assert report.boot is not None
        boot = report.boot
        at = {s.name: s for s in reversed(boot.stations)}
    args, init, resize = at["runtime.args"], at["runtime.mcommoninit"], at["runtime.procresize"]
    assert args.changed["argc"] == (0, 3)
    assert args.changed["argv"][1] == boot.stations[0].registers[boot_sp(variant)] + 8
    assert init.changed["allm"] == (0, boot.globals.m0)
    lo, hi = (init.changed[f"gsignal.stack.{end}"][1] or 0 for end in ("lo", "hi"))
    assert hi - lo == 32 << 10
    assert resize.changed["stealOrder.count"] == (0, 6)
    coprimes = [v for k, v in boot.snapshot.items() if k.startswith("stealOrder.coprimes")]
    assert coprimes == [1, 5]  # the numbers below 6 that have no factor in common with it
    assert "goroutine 1 is _Grunnable, and will begin at runtime.main" in at["runtime.newproc"].note
    assert boot.state["stealOrder"]["count"] == 6
    assert boot.state["argc"] == 3


def boot_sp(variant: str) -> str:
    return "sp" if "arm64" in variant else "rsp"


@pytest.mark.go
@pytest.mark.parametrize("variant", ["default", "noopt", "pie", "arm64"])
def test_the_arguments_of_the_stations(build: Callable[..., Path], variant: str) -> None:
    with xray(build("hello", variant), Options(argv=["hello", "a"], cpus=3, arguments=True)) as report:
        assert report.boot is not None
        boot = report.boot
        got = {s.name: s.arguments for s in reversed(boot.stations)}
    g0, m0 = boot.globals.g0, boot.globals.m0
    assert got["runtime.args"] == f"c=2, v={boot.snapshot['argv']:#x}"  # through its wrapper, on the stack
    assert got["runtime.procresize"] == "nprocs=3"
    assert got["runtime.mcommoninit"] == f"mp={m0:#x} (&runtime.m0), id=-1"
    assert got["runtime.newproc"].endswith("(&runtime.mainPC)")
    assert got["runtime.newproc1"].split(", ")[:2] == [got["runtime.newproc"], f"callergp={g0:#x} (&runtime.g0)"]
    assert got["runtime.newm"].endswith("(runtime.sysmon), pp=nil, id=-1")
    assert got["runtime.runqput"].endswith(", next=true")
    assert got["runtime.execute"].endswith(", inheritTime=true")
    assert got["runtime.check"] == ""
    if variant in ("default", "arm64"):
        assert got["runtime.parseRuntimeDebugVars"] == "godebug=''"


@pytest.mark.go
def test_arguments_in_go_code_of_the_program(build: Callable[..., Path]) -> None:
    with xray(build("hello", "default"), Options(until="exit", arguments=True)) as report:
        assert report.boot is not None
        got = {s.name: s.arguments for s in report.boot.stations}
    assert got["main.Hello"] == "name='world'"
    for prints in ([], ["runtime.sched"]):  # where something is printed, the types are those of a table
        with xray(build("hello", "stripped"), Options(until="exit", arguments=True, prints=prints)) as report:
            assert report.boot is not None
            assert {s.arguments for s in report.boot.stations} == {""}
