"""`--inits`: the packages' inits, against what the program's source says and what GODEBUG=inittrace=1 prints natively."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gort.xray.boot.follow import Boot, Options, xray
from gort.xray.boot.inits import Init, with_inittrace
from gort.xray.file.symbols import package_of


def follow(path: Path, **options: object) -> Boot:
    with xray(path, Options(inits=True, cpus=2, **options)) as report:  # type: ignore[arg-type]
        assert report.boot is not None
        return report.boot


def by_name(boot: Boot) -> dict[str, Init]:
    return {init.package: init for init in boot.inits}


@pytest.mark.go
@pytest.mark.parametrize("variant", ["default", "stripped", "pie", "arm64"])
def test_inits_cost_what_their_source_does(build: Callable[..., Path], variant: str) -> None:
    boot = follow(build("inits", variant))
    heavy, main = by_name(boot)["inits/heavy"], by_name(boot)["main"]
    assert [f.name for f in heavy.functions] == ["inits/heavy.init", "inits/heavy.init.0"]
    assert heavy.functions[0].instructions > 50_000  # at least one instruction for each round of its loop
    assert heavy.instructions < 2_000_000
    assert heavy.functions[1].syscalls == 7
    assert heavy.allocations is not None
    assert heavy.bytes is not None
    assert 100 <= heavy.allocations < 120
    assert 100_000 <= heavy.bytes < 120_000
    assert 2_900_000 < main.waited_ns < 3_100_000
    assert main.instructions < 50_000  # what other threads did meanwhile is not its own
    assert all(init.returned for init in boot.inits)


@pytest.mark.go
def test_the_numbers_are_the_same_each_time(build: Callable[..., Path]) -> None:
    path = build("inits", "default")
    first, second = (
        [(i.package, i.instructions, i.allocations, i.bytes, i.syscalls, i.waited_ns) for i in follow(path).inits]
        for _ in range(2)
    )
    assert first == second


@pytest.mark.go
@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="the program is for linux/amd64")
def test_packages_and_allocations_are_those_of_inittrace(build: Callable[..., Path]) -> None:
    path = build("inits", "default")
    native = subprocess.run(
        [path],
        env={"GODEBUG": "inittrace=1", "GOMAXPROCS": "2"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    theirs = {
        m[1]: (int(m[3]), int(m[2]))
        for m in re.finditer(r"init (\S+) @.* clock, (\d+) bytes, (\d+) allocs", native.stderr)
    }
    boot = follow(path, until="exit", argv=["inits"])
    assert [i.package for i in boot.inits] == list(theirs)
    ours = {i.package: (i.allocations, i.bytes) for i in boot.inits}
    for package in ("inits/heavy", "errors", "sync", "io/fs"):
        assert ours[package] == theirs[package], package
    assert boot.output == b"heavy\n"


@pytest.mark.go
def test_an_init_that_hangs_is_named(build: Callable[..., Path]) -> None:
    boot = follow(build("inits", "default"), argv=["inits", "hang"])
    assert [i.package for i in boot.inits if not i.returned] == ["main"]
    assert [f.name for f in by_name(boot)["main"].functions if not f.returned] == ["main.init.1"]


@pytest.mark.go
def test_the_table_its_data_and_its_limit(build: Callable[..., Path]) -> None:
    from test_xray_cli import gort

    path = str(build("inits", "default"))
    text = gort(path, "--inits", "--full").stdout
    rows = [line.split() for line in text.splitlines() if re.match(r" *[\d,]+ +[\d.]+%", line)]
    costs = [int(row[0].replace(",", "")) for row in rows]
    assert costs == sorted(costs, reverse=True)
    assert rows[0][-1] == "inits/heavy"
    assert "inits/heavy.init.0" in text
    data = json.loads(gort(path, "--inits", "--json").stdout)["inits"]
    assert [i["instructions"] for i in data] == costs
    failed = gort(path, "--inits-limit", str(costs[1]), status=1)
    assert f"more instructions in the init of inits/heavy {costs[0]:,}" in failed.stderr
    assert "and others" not in failed.stderr
    gort(path, "--inits-limit", str(costs[0]))
    assert "--inits" in gort(path, "--static", "--inits", status=2).stderr


def test_the_package_of_a_function() -> None:
    for function, package in {
        "main.main": "main",
        "net/http.(*Client).Do": "net/http",
        "gopkg.in/yaml%2ev3.Unmarshal": "gopkg.in/yaml.v3",
        "slices.SortFunc[go.shape.*net/http.Request]": "slices",
        "type:.eq.main.T": "type:",
        "memeqbody": "",
    }.items():
        assert package_of(function) == package


def test_the_users_godebug_stays() -> None:
    assert with_inittrace(["A=1"]) == ["A=1", "GODEBUG=inittrace=1"]
    assert with_inittrace(["GODEBUG=x=1", "GODEBUG=y=1", "A=1"]) == ["A=1", "GODEBUG=y=1,inittrace=1"]
