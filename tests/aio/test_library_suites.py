"""scripts/library_suites.py finds what differs between the loops, and the guide's table has its libraries."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from support import ROOT

pytestmark = pytest.mark.lint

TESTS = """
import asyncio
import gc
import os
import socket
import pytest


def test_same():
    pass


def test_other_loop():
    with asyncio.Runner() as runner:
        assert type(runner.get_loop()).__module__.startswith("asyncio")


@pytest.mark.xfail
def test_passes_though_it_need_not():
    pass


def test_fails_on_both():
    left_open = socket.socket()
    try:
        raise KeyError
    except KeyError as e:
        error = e
        raise


@pytest.mark.filterwarnings("error")
def test_does_not_answer_for_what_another_has_left_open():
    gc.collect()


def test_ends_the_process():
    os._exit(3)


@pytest.mark.skip
def test_skipped():
    pass


class TestTeardown:
    @pytest.fixture
    def bad(self):
        yield
        if "gort" in type(asyncio.new_event_loop()).__module__:
            raise OSError

    def test_in_the_teardown(self, bad):
        pass


def test_last():
    pass
"""


@pytest.fixture
def suites(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location("library_suites", ROOT / "scripts" / "library_suites.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "library_suites", module)
    spec.loader.exec_module(module)
    return module


def test_what_differs_is_found(suites: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = tmp_path / "sources"
    (where / "tests").mkdir(parents=True)
    (where / "tests" / "test_it.py").write_text(TESTS)
    # A process of its own finds the suite by its name: one of SUITES, with nothing that it needs.
    suite = next(s for s in suites.SUITES if s.name == "aioquic")
    monkeypatch.setattr(suites, "bin_python", lambda *_: Path(sys.executable))
    monkeypatch.setattr(suites, "sources", lambda *_: where)
    monkeypatch.setattr(suites, "AGAIN", 1)
    row, wrong = suites.compare(suite, tmp_path, sys.executable)
    assert row == ["aioquic", suite.version, "9", "3", "2", "2"]
    names = [text.partition(": asyncio")[0] for text in wrong]
    assert names == [
        "aioquic: tests/test_it.py::TestTeardown::test_in_the_teardown",
        "aioquic: tests/test_it.py::test_other_loop",
    ]
    assert "OSError" in wrong[0]


def test_the_guide_has_a_row_for_each_library(suites: ModuleType) -> None:
    table = suites.TABLE.search(suites.GUIDE.read_text())
    assert table is not None
    rows = [line.strip("| ").split(" | ") for line in suites.rows_of(table[0])]
    assert [row[:2] for row in rows] == [[s.name, s.version] for s in suites.SUITES]
    assert [row[5] for row in rows] == ["0"] * len(rows)
    told = [line for line in table[0].splitlines() if line.startswith("- ")]
    assert len(told) == len(suites.EXPECTED)
    assert all(
        f"`{test}` of {library} " in line for line, ((library, test), _) in zip(told, suites.expected(), strict=True)
    )


def test_what_may_differ_belongs_to_a_library(suites: ModuleType) -> None:
    assert {key.partition(": ")[0] for key in suites.EXPECTED} <= {s.name for s in suites.SUITES}
