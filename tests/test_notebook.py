"""gort.notebook, in a real Jupyter kernel, in IPython without one, and without IPython.

The kernel is a process of its own. Nothing is waited for by the clock: a cell says when it has begun.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import PATIENCE_S, environment, program

pytestmark = pytest.mark.once  # ipykernel is in the main environment alone


class Kernel:
    """A kernel and its client: runs cells, and gives what each has printed and how it has ended."""

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager = manager
        self.client = client

    def run(self, code: str, interrupt_at: str = "") -> tuple[str, str]:
        """(what the cell has printed, the name of its error or ""). Interrupts it once it has printed `interrupt_at`."""
        asked = self.client.execute(textwrap.dedent(code))
        text, error = "", ""
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE_S)
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                text += content["text"]
                if interrupt_at and interrupt_at in text:
                    interrupt_at = ""
                    self.manager.interrupt_kernel()
            elif kind == "execute_result":
                text += content["data"]["text/plain"] + "\n"
            elif kind == "error":
                error = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle":
                return text, error


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    from jupyter_client.manager import KernelManager

    folder = tmp_path_factory.mktemp("ipython")
    manager = KernelManager()
    manager.start_kernel(
        env=environment(IPYTHONDIR=str(folder), JUPYTER_RUNTIME_DIR=str(folder), GODEBUG=None),
        extra_arguments=["--HistoryManager.enabled=False"],
    )
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE_S)
        found = Kernel(manager, client)
        assert found.run("import gort\n%load_ext gort.notebook") == ("", "")
        yield found
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module", autouse=True)
def no_descriptors_between_tests(kernel: Kernel) -> None:
    """The kernel and its sockets are there before the first test is looked at for what it leaves."""


def test_goroutines_live_on_between_cells(kernel: Kernel) -> None:
    begun = """
        ch, seen = gort.Chan(), []

        async def counts():
            i = 0
            while True:
                await ch.send(i)
                i += 1

        gort.notebook.go(counts)
        """
    assert kernel.run(begun) == ("", "")
    assert kernel.run("[await ch.recv() for _ in range(3)]") == ("[0, 1, 2]\n", "")
    assert kernel.run("await ch.recv()") == ("3\n", "")
    assert kernel.run("gort.go(counts); (await ch.recv()) in (0, 4)") == ("True\n", "")
    assert kernel.run("%%gort\ngort.go(counts)\nprint('a goroutine')") == ("a goroutine\n", "")
    assert kernel.run("gort.wait(ch.recv()) >= 0") == ("True\n", "")


def test_ctrl_c_ends_the_cell_only(kernel: Kernel) -> None:
    assert kernel.run("""
        more, ends = gort.Chan(), []

        async def other():
            await more.recv()
            await more.send("other goes on")

        gort.notebook.go(other)
        """) == ("", "")
    cell = """
        try:
            print("begun", flush=True)
            await gort.sleep(3600)
        finally:
            ends.append("cleaned up")
        """
    assert kernel.run(cell, interrupt_at="begun") == ("begun\n", "KeyboardInterrupt")
    assert kernel.run("ends") == ("['cleaned up']\n", "")
    assert kernel.run("await more.send(None); await more.recv()") == ("'other goes on'\n", "")
    computes = "print('begun', flush=True)\nwhile True: pass"
    assert kernel.run(computes, interrupt_at="begun") == ("begun\n", "KeyboardInterrupt")


def test_errors_of_a_cell_are_the_cells(kernel: Kernel) -> None:
    assert kernel.run("await gort.sleep(0); 1 / 0") == ("", "ZeroDivisionError")
    assert kernel.run("await gort.sleep(0); gort.notebook.stop()") == ("", "RuntimeError")
    assert kernel.run("await gort.gosched(); 'goes on'") == ("'goes on'\n", "")


def test_gort_run_in_a_cell(kernel: Kernel) -> None:
    cell = """
        async def main():
            ch = gort.Chan(1)
            await ch.send("main")
            return await ch.recv()

        gort.run(main)
        """
    assert kernel.run(cell) == ("'main'\n", "")


def test_a_notebook_file(tmp_path: Path) -> None:
    """As `jupyter execute` runs it; in a process of its own, for nbclient leaves a loop behind."""
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, timeout=PATIENCE_S,
        env=environment(IPYTHONDIR=str(tmp_path), JUPYTER_RUNTIME_DIR=str(tmp_path), GODEBUG=None),
    )  # fmt: skip
    assert done.stdout == "['[0, 1, 4]', \"'over'\"]\n", done.stderr


NOTEBOOK = """
import nbclient, nbformat
from nbformat import v4
cells = [
    "import gort\\n%load_ext gort.notebook",
    "squares = gort.Chan(3)\\nfor i in range(3): await squares.send(i * i)",
    "sorted([await squares.recv() for _ in range(3)])",
    "%unload_ext gort.notebook",
    "'over'",
]
book = v4.new_notebook(cells=[v4.new_code_cell(c) for c in cells])
nbclient.NotebookClient(book, kernel_name="python3").execute()
print([o["data"]["text/plain"] for c in book.cells for o in c.outputs if "data" in o])
"""


LINES = """
import gort
%load_ext gort.notebook
ch = gort.Chan()
gort.notebook.go(ch.send, 1)
print('received', await ch.recv())
%unload_ext gort.notebook
print('over')
"""


def test_ipython_without_jupyter(tmp_path: Path) -> None:
    """Its lines come from a pipe, whose end ends it."""
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit", "--colors=NoColor",
         "--HistoryManager.enabled=False"],
        input=LINES.lstrip(), capture_output=True, text=True, timeout=PATIENCE_S,
        env=environment(IPYTHONDIR=str(tmp_path), GODEBUG=None),
    )  # fmt: skip
    printed = [line.rpartition("]: ")[2] for line in done.stdout.splitlines()]
    assert [line for line in printed if line] == ["received 1", "over"], done.stdout + done.stderr
    assert done.returncode == 0


def test_without_ipython() -> None:
    done = program("""
        gort.notebook.start()
        gort.notebook.start()
        ch = gort.Chan()

        async def sends(value, twice=False):
            await ch.send(value * 2 if twice else value)

        gort.notebook.go(sends, 1)
        gort.notebook.go(sends, 2, twice=True)
        print(sorted([gort.wait(ch.recv()), gort.wait(ch.recv())]))
        gort.notebook.stop()
        gort.notebook.stop()
        print([t.name for t in threading.enumerate()])
        gort.notebook.go(sends, 3)  # starts another one
        print(gort.wait(ch.recv()))
        try:
            gort.notebook.stop()
            gort.notebook.start(procs=-1)
        except ValueError as e:
            print("procs" in str(e))
        """)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["[1, 4]", "['MainThread']", "3", "True"]), done.stderr


def test_a_goroutine_that_fails_ends_the_runtime_and_the_next_starts_another() -> None:
    done = program("""
        async def fails():
            raise ValueError("of a goroutine")

        gort.notebook.start()
        thread = next(t for t in threading.enumerate() if t.name == "notebook")
        gort.notebook.go(fails)
        thread.join()

        async def fine(ch):
            await ch.send("fine")

        ch = gort.Chan()
        gort.notebook.go(fine, ch)
        print(gort.wait(ch.recv()))
        """)
    assert (done.returncode, done.stdout) == (0, "fine\n")
    assert "ValueError: of a goroutine" in done.stderr
