"""`await gort.blocking(fn, *args)`: a call that is known to block.  Follows entersyscallblock in Go's runtime/proc.go.
And `call`, through which a goroutine calls what may be written in C.

The goroutine's thread hands its P off and makes the call itself.  So no other thread is needed for the call, and the
function sees its goroutine's contextvars.  After the call the goroutine takes an idle P and goes on, or goes to the
global queue if no P is idle.  What does not live here: the handoff of the P (handoff.py).
"""

from __future__ import annotations

from _collections_abc import Awaitable, Callable

from gort._runtime.core import handoff, runtime2
from gort._runtime.core.runtime2 import MCALL_PASS, MCALL_YIELD, OP_PARKED, PARK, READY
from gort._runtime.core.op import WAIT_BLOCKING
from gort._runtime.sched.newproc import stays_free
from gort._start import hints as t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

CO_COROUTINE = 0x80  # inspect's; inspect takes longer to import than all of gort

getm = runtime2.current_m

# The code objects of gort's functions that do nothing but call or await what is the user's.  The user's may be written in
# C and then has no frame, so a signal handler that interrupts it finds one of these (signals.in_user_code).
calls_user: set[CodeType] = set()


def call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """fn(*args, **kwargs), for an fn that may have no frame of its own."""
    return fn(*args, **kwargs)


calls_user.add(call.__code__)


def coroutine_of(value: Any, args: None, kwargs: None) -> Any:
    """A coroutine that awaits what a goroutine's function has returned, or None (awaited.py).  It has the parameters of
    call, because C calls it in the same way."""
    from gort._runtime.sched import awaited

    return awaited.coroutine_of(value)


class BlockingOp(runtime2.Op):
    """c: the function; elem: its arguments, then its result; sel: the exception it raised; success: the call is over."""

    what = "gort.blocking()"

    def begin(self, g: Any) -> int:
        """Makes the call.  PARK if the goroutine must suspend: before the call, so that another thread makes it, or after
        it, because no P is idle."""
        self.g = g
        m = getm()
        return self._pass_on(m) if stays_free(m, g) else self._call(m)

    def _pass_on(self, m: Any) -> int:
        m.mcall = MCALL_PASS
        return PARK

    def _call(self, m: Any) -> int:
        """Hands the P off, makes the call, and takes an idle P.  PARK if there is none."""
        args, kwargs = self.elem
        self.elem = None
        self.success = 1
        try:  # from here on, a signal handler's exception counts as the call's
            handoff.entersyscall(m)
            self.elem = call(self.c, args, kwargs)
        except BaseException as e:
            self.sel = e
        if not m.insyscall or handoff.exitsyscall(m):
            return READY
        m.mcall = MCALL_YIELD
        return PARK

    def finish(self) -> Any:
        """Returns the call's result or raises its exception.  Makes the call, if another thread had to."""
        if not self.success:
            m = getm()
            if (self._pass_on(m) if stays_free(m, self.g) else self._call(m)) == PARK:
                self.state = OP_PARKED  # finish is called again when the goroutine next runs
                return None
        self.c = None
        value, self.elem = self.elem, None
        exc, self.sel = self.sel, None
        if exc is not None:
            try:
                raise exc
            finally:
                del exc
        return value

    def reason(self) -> int:
        """WAIT_BLOCKING, which dumps show as `blocking call`."""
        return WAIT_BLOCKING


def blocking(fn: Callable[t.P, t.T], *args: t.P.args, **kwargs: t.P.kwargs) -> Awaitable[t.T]:
    """Runs a function that blocks its thread (file I/O, a database driver, time.sleep) while other goroutines go on:
    `result = await gort.blocking(fn, *args, **kwargs)`.  Follows entersyscallblock (Go's runtime/proc.go).

    fn may wait for goroutines with gort.wait, which raises Cancelled when the goroutine is cancelled.

    The await raises what fn raises.  The call raises TypeError when fn cannot be called or is an async function."""
    if not callable(fn):
        raise TypeError(f"gort.blocking(fn, *args): fn must be callable, not {type(fn).__name__}")
    code = getattr(getattr(fn, "__func__", fn), "__code__", None)
    if code is not None and code.co_flags & CO_COROUTINE:
        raise TypeError(f"gort.blocking(fn, *args) is for plain functions; {fn.__qualname__} is async: await it")
    op = BlockingOp()
    op.c = fn
    op.elem = (args, kwargs)
    return op  # type: ignore[return-value]  # awaitable: op.py has given Op its protocol
