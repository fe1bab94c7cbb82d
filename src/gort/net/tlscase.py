"""A read of a TLS connection as a case of gort.select.

What does not live here: the connection (tls.py), what a case is and who tries it (_runtime/wait/cases.py).
"""

from __future__ import annotations

import ssl

from gort._compound import writable
from gort._runtime.wait.cases import Arm, HelpedArm, arms_of, refuse
from gort._start.hints import Buffer
from gort.scope import shield

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gort.net.tls import TLSConn
    from gort.sync import Mutex

ENOUGH = 1 << 16  # bytes that are taken from the peer at a time


class ReadCase(HelpedArm):
    """A read as a case of select.

    An attempt takes what the descriptor has, without waiting, and has the ssl object decrypt it.  What it does not
    return stays in the ssl object for the next read.  The helper waits until the descriptor is readable.  It holds
    `_feeding` meanwhile, so that nobody else brings bytes of which it would not know.  It also sends what the ssl object
    wants to say (the answer to a renegotiation), which an attempt cannot do, since that may have to wait."""

    def __init__(self, tls: TLSConn, n: int, buffer: Buffer | None = None) -> None:
        super().__init__()
        if not tls._ready and tls._failed is None:
            why = "its handshake would have an effect before it is over; `await conn.handshake()` first"
            raise refuse("TLSConn.read", why)
        self.tls: TLSConn = tls
        self.into: memoryview | None = writable(buffer) if buffer is not None else None
        self.n: int = n if self.into is None else self.into.nbytes
        self.below: Arm = arms_of(tls.conn.read(ENOUGH))[0]  # the read from the connection beneath
        self.fed: int = -1  # tls._fed, when the last attempt found nothing
        self.error: OSError | None = None  # what the helper's sending ended with
        self.held: list[Mutex] = []  # `_feeding`, while the helper holds it; whoever pops it unlocks it

    def attempt(self, g: Any) -> tuple[Any, bool] | None:
        data = self._read(g)
        if data is None or self.into is None:
            return None if data is None else (data, True)
        self.into[: len(data)] = data
        return len(data), True

    def _read(self, g: Any) -> bytes | None:
        tls = self.tls
        if tls._failed is not None:
            raise tls._failed.with_traceback(None)
        if self.error is not None:
            raise self.error
        if not tls._reading.try_lock():
            return None  # another goroutine reads
        try:
            tls._check_reads()
            if tls._pushed or self.n == 0:
                return tls._pop(self.n)
            while True:
                with tls._mu:
                    self.fed = tls._fed
                    try:
                        data = tls.ssl.read(self.n)
                    except ssl.SSLWantReadError:
                        data = None
                    except ssl.SSLZeroReturnError:
                        data = b""
                if data is not None and tls._out.pending:
                    tls.push(data)  # it is read when the helper has sent that
                    return None
                if data is not None:
                    return data
                if tls._out.pending or not self._feed(g):
                    return None
        finally:
            tls._reading.unlock()

    def _feed(self, g: Any) -> bool:
        """Takes from the peer what is there; whether that, or another goroutine, has brought something."""
        tls = self.tls
        if not tls._feeding.try_lock():
            return False
        try:
            if tls._fed == self.fed:
                found = self.below.attempt(g)
                if found is None:
                    return False
                tls._take(found[0])
            return True
        finally:
            tls._feeding.unlock()

    def ask(self) -> None:
        self.below.ask()

    async def wait(self) -> None:
        tls = self.tls
        if tls._out.pending:
            try:
                async with shield():  # a record that goes in part would be the end of writing
                    await tls._flush()
            except OSError as e:
                self.error = e
            return
        async with tls._reading:
            pass  # whoever reads had its turn
        await tls._feeding.lock()
        self.held.append(tls._feeding)
        try:
            if tls._fed == self.fed:
                await self.below.wait()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        try:
            self.held.pop().unlock()
        except IndexError:
            pass

    def leave(self, won: bool) -> None:
        super().leave(won)
        self._let_go()  # before the helper has run, so that whoever reads next finds it free
