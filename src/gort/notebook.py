"""gort.notebook: a runtime that lives on between the cells of a notebook or the lines of IPython.

    %load_ext gort.notebook          # each cell that awaits is a goroutine from now on
    ch = gort.Chan()
    gort.notebook.go(worker, ch)     # in a cell that does not await
    await ch.recv()                  # in one that does; there gort.go works too

The runtime runs in a thread of its own, whose main goroutine waits for stop(). A cell that awaits is another goroutine of
it, and the thread of the notebook waits for its end as any thread does (gort.wait).

Invariants
- `_mu` guards `_kept`. Nobody waits for a goroutine while it is held.
- Ctrl-C reaches the thread of the notebook. It cancels the goroutine of that cell, whose end is waited for; the others go
  on. A second one gives up waiting.
- A cell without an await runs on the thread of the notebook, as ever: there Ctrl-C interrupts what computes, and what
  needs the main thread has it.

Rejected: every cell a goroutine (no signal could interrupt one that computes).

What does not live here: how a thread waits (boot/wait.py). docs/notebooks.md is the guide.
"""

from __future__ import annotations

import atexit
import threading
from _collections_abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from gort._runtime.boot.main import run
from gort._runtime.boot.wait import wait
from gort._runtime.core import runtime2
from gort._runtime.core.errors import Cancelled
from gort._runtime.core.public import publish as _publish
from gort._runtime.sched import newproc
from gort._runtime.wait.chan import Chan

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["go", "load_ipython_extension", "start", "stop", "unload_ipython_extension"]

_T = TypeVar("_T")


class _Kept:
    """A runtime that runs until stop()."""

    def __init__(self, procs: int | None) -> None:
        self.over: Chan[None] = Chan()
        self.begun = threading.Event()
        self.procs = procs
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="notebook", daemon=True)  # atexit stops it

    def _run(self) -> None:
        try:
            run(self._serve, procs=self.procs)
        except BaseException as e:
            if not self.begun.is_set():
                self.failure = e
                self.begun.set()
                return
            raise  # a goroutine has failed, and that ends the runtime: the thread's hook reports it at once

    async def _serve(self) -> None:
        self.begun.set()
        await self.over.recv_ok()

    def stop(self) -> None:
        """Ends the runtime, and waits for that."""
        self.over.close()
        self.thread.join()


_mu = threading.Lock()
_kept: _Kept | None = None


def start(procs: int | None = None) -> None:
    """Keeps a runtime until stop(). Does nothing if one is kept already.

    procs: as in gort.run. Raises what gort.run raises before it begins: ValueError or TypeError for an impossible number
    of Ps, RuntimeError inside a goroutine or where the system gives no thread. Go has nothing like it."""
    global _kept
    with _mu:
        if _kept is not None and _kept.thread.is_alive():
            return
        kept = _Kept(procs)
        kept.thread.start()
        kept.begun.wait()
        if kept.failure is not None:
            kept.thread.join()
            raise kept.failure
        _kept = kept


def stop() -> None:
    """Ends the runtime that start keeps; its goroutines are closed, as at the end of gort.run. Does nothing where there
    is none.

    Raises RuntimeError in a goroutine: in a cell that awaits."""
    global _kept
    if runtime2.current_m() is not None:
        raise RuntimeError("gort.notebook.stop() in a goroutine: call it in a cell that does not await")
    with _mu:
        kept, _kept = _kept, None
    if kept is not None and kept.thread.is_alive():
        kept.stop()


def go(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
    """gort.go for a cell that does not await: starts fn(*args, **kwargs) as a goroutine of the runtime that is kept, and
    starts that first where there is none. Raises what gort.go raises."""
    start()

    async def begin() -> None:
        newproc.go(fn, *args, **kwargs)

    wait(begin())


def _run_cell(cell: Coroutine[Any, Any, _T]) -> _T:
    """Runs a cell as a goroutine, and waits for it on the thread of the notebook. IPython calls it with the coroutine
    that runs the cell and shows its errors."""
    start()
    ended: Chan[None] = Chan()
    results: list[_T] = []

    async def goroutine() -> None:
        try:
            results.append(await cell)
        finally:
            ended.close()

    try:
        wait(goroutine())
    except KeyboardInterrupt:  # the goroutine has been cancelled
        wait(ended.recv_ok())
        if not results:
            raise
    return results[0]


def _show_cancelled(
    shell: Any, kind: type, exc: BaseException, tb: TracebackType | None, tb_offset: int | None = None
) -> None:
    """Shows a cell that was cancelled as any other that Ctrl-C has ended."""
    shell.showtraceback((KeyboardInterrupt, KeyboardInterrupt().with_traceback(tb), tb), tb_offset=tb_offset)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext gort.notebook`: starts the runtime; from then on each cell that awaits is a goroutine. `%%gort` makes
    one of a cell that does not."""
    start()
    shell.gort_before = shell.loop_runner, shell.autoawait
    shell.loop_runner = _run_cell
    shell.autoawait = True
    shell.set_custom_exc((Cancelled,), _show_cancelled)

    def magic(line: str, cell: str) -> None:
        _run_cell(shell.run_cell_async(cell, store_history=False, transformed_cell=shell.transform_cell(cell)))

    shell.register_magic_function(magic, "cell", "gort")


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext gort.notebook`: cells are as they were before, and the runtime ends."""
    shell.loop_runner, shell.autoawait = shell.gort_before
    shell.set_custom_exc((), None)
    stop()


atexit.register(stop)
_publish(globals())
