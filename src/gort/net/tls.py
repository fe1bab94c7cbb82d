"""TLS over any Conn.  Follows Go's crypto/tls (Client, Server, Conn); the protocol is the standard library's ssl, driven
through memory buffers, so no thread ever waits inside it.

One goroutine may read while another writes: the ssl object and its buffers are used under one short lock that is never
held across an await, and what it has to send goes out in order under another that is.  The short one is an RLock, because
code of the program may run while it is held, on the same thread: a callback of the ssl.SSLContext, a finalizer, a signal
handler.  Each section makes one call of the ssl object or of a buffer, so such code finds nothing half done.
"""

from __future__ import annotations

import ssl
import threading
import time
from _collections_abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any

from gort._compound import Kept
from gort._runtime.core.mistakes import Shared
from gort._runtime.poll.neterrors import Closed, DeadlineExceeded
from gort._runtime.wait.cases import Selectable
from gort._start.hints import Buffer
from gort.net.addr import Addr, check_address, split_host_port
from gort.net.conn import Conn
from gort.net.dial import Dialer
from gort.net.listen import Listener, listen
from gort.net.sendfile import Sendable, Source
from gort.net.tlscase import ReadCase
from gort.sync import Mutex

HUNG_UP = "tls: the peer closed the connection during the handshake"
CHUNK = 16384  # a TLS record's payload
GOODBYE_S = 5.0  # for the close_notify of a block that is left, as in Go


class TLSConn(Kept, Shared):
    """A TLS connection with Conn's methods; `conn` is the connection beneath, `ssl` the ssl.SSLObject (its certificate,
    cipher, ALPN protocol).  Follows Go's tls.Conn.

    Both directions may need the other one: a write during a renegotiation has to read, a read may have to answer.  So
    whoever needs more from the peer takes it under `_feeding`, and looks first whether another goroutine has just done
    so (`_fed`).  Nobody holds `_sending` while it waits for the peer to say something."""

    def __init__(self, conn: Conn, context: ssl.SSLContext, server: bool, server_name: str | None) -> None:
        self.conn = conn
        server_name = name_to_check(server_name) if server_name is not None else None
        self._name = server_name
        self._context = context
        self._server = server
        self._mu = threading.RLock()  # guards ssl and its two buffers, and _fed
        self._writing = Mutex()  # a write goes whole
        self._sending = Mutex()  # records go in the order in which they were made
        self._reading = Mutex()
        self._feeding = Mutex()  # one goroutine at a time takes from the peer
        self._shaking = Mutex()
        self._fed = 0  # how often something has been taken from the peer
        self._failed: OSError | None = None  # what the handshake ended with
        self._ready = False
        self._cut = False  # a record went in part: nothing can be written after it
        self._ssl: ssl.SSLObject | None = None
        if not server or context.protocol is ssl.PROTOCOL_TLS_CLIENT:
            self._make()  # raises where the context does not fit

    def _make(self) -> ssl.SSLObject:
        """Makes the ssl object and its buffers, which take 40 KiB.  A server does so when the first byte has come:
        clients that connect and say nothing are many sometimes, and cost no more than their connections."""
        with self._mu:
            if self._ssl is None:
                self._in = ssl.MemoryBIO()
                self._out = ssl.MemoryBIO()
                self._ssl = self._context.wrap_bio(
                    self._in, self._out, server_side=self._server, server_hostname=self._name
                )
            return self._ssl

    @property
    def ssl(self) -> ssl.SSLObject:
        """The ssl.SSLObject."""
        return self._ssl or self._make()

    @property
    def local_addr(self) -> Addr:
        """This end's address."""
        return self.conn.local_addr

    @property
    def remote_addr(self) -> Addr:
        """The peer's address."""
        return self.conn.remote_addr

    @property
    def alpn_protocol(self) -> str | None:
        """What both sides agreed to speak, or None."""
        return self.ssl.selected_alpn_protocol()

    @property
    def network(self) -> str:
        """As Conn.network."""
        return self.conn.network

    @property
    def closed(self) -> bool:
        """Whether close() has been called."""
        return self.conn.closed

    def describe(self) -> str:
        """How messages name it."""
        return f"tls {self.conn.describe()}"

    def __repr__(self) -> str:
        return f"<gort.net.TLSConn {self.ssl.version()} over {self.conn!r}>"

    async def _flush(self) -> None:
        """Sends what the ssl object has produced."""
        if not self._out.pending:
            return
        async with self._sending:
            with self._mu:
                data = self._out.read()
            if data:
                await self._send(data)

    async def _send(self, data: bytes) -> None:
        """Writes records.  One that goes in part is the end of writing, as in Go."""
        if self._cut:
            raise BrokenPipeError(32, "tls: an earlier write was cut short by a deadline, a cancellation or an error")
        try:
            await self.conn.write(data)
        except BaseException:
            self._cut = True
            raise

    async def _feed(self, fed: int) -> None:
        """Takes more from the peer, unless another goroutine has since `_fed` was `fed`."""
        async with self._feeding:
            if self._fed != fed:
                return
            self._take(await self.conn.read(CHUNK * 4))

    def _take(self, data: bytes) -> None:
        """Gives the ssl object what the peer has sent.  `_feeding` is held."""
        with self._mu:
            self._fed += 1
            if data:
                self._in.write(data)
            else:
                self._in.write_eof()

    async def handshake(self) -> None:
        """Completes the handshake.  ssl.SSLCertVerificationError names what is wrong with the certificate and whose it
        is; ssl.SSLError for other disagreements.  The connection is of no use then, and whatever is done with it raises
        the same.  Done by the first read or write where nobody has asked for it; again does nothing."""
        async with self._shaking:
            if self._failed is not None:
                raise self._failed.with_traceback(None)  # else each raise adds its frames to those before
            if not self._ready:
                try:
                    await self._handshake()
                except (ssl.SSLError, ConnectionError) as e:
                    self._failed = e
                    raise
                self._ready = True

    async def _handshake(self) -> None:
        if self._ssl is None:
            if not await self.conn.peek(1):  # many may leave at once, too
                raise ConnectionResetError(104, HUNG_UP)
            self._make()
        while True:
            with self._mu:
                fed = self._fed
            try:
                with self._mu:
                    self.ssl.do_handshake()
                await self._flush()
                return
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed(fed)
            except ssl.SSLCertVerificationError as e:
                await self._say_goodbye()
                e.strerror = f"tls: certificate of {self._name or 'the peer'}: {e.verify_message}"
                raise
            except ssl.SSLEOFError:
                raise ConnectionResetError(104, HUNG_UP) from None
            except ssl.SSLError:
                await self._say_goodbye()
                raise

    async def _say_goodbye(self) -> None:
        """Sends the alert that tells the peer why."""
        try:
            await self._flush()
        except OSError:
            pass  # there is nobody to tell

    def read(self, n: int = CHUNK) -> Coroutine[Any, Any, bytes]:
        """`data = await conn.read()`: up to n bytes; b"" when the peer has said that it is done.  read(0) does the
        handshake only.  A case of gort.select, too, once the handshake is done.

        Raises as Conn.read does (ValueError if n is negative), and ssl.SSLEOFError when the stream was cut off without
        that (somebody may have truncated it)."""
        if n < 0:
            raise ValueError(f"read(n) takes a number of bytes, not {n}")
        return Selectable(self._read_some(n), lambda: ReadCase(self, n))

    def readinto(self, buffer: Buffer) -> Coroutine[Any, Any, int]:
        """As Conn.readinto (the same buffer, the same errors), and as read."""
        return Selectable(super().readinto(buffer), lambda: ReadCase(self, 0, buffer))

    async def _read_some(self, n: int) -> bytes:
        if not self._ready:
            await self.handshake()
        if n == 0:
            return await self.conn.read(0)  # no bytes, or Closed
        async with self._reading:
            self._check_reads()
            return await self._read(n)

    def _check_reads(self) -> None:
        if self.conn.closed:
            raise Closed(f"read {self.describe()}: use of closed network connection")
        if self.refuses_reads():  # what is here already comes no more, either
            raise DeadlineExceeded(f"read {self.describe()}: deadline exceeded")

    def refuses_reads(self) -> bool:
        """Whether a read would fail now: it is closed, or its deadline has passed."""
        return self.conn.refuses_reads()

    async def _read(self, n: int) -> bytes:
        if self._pushed:
            return self._pop(n)
        while True:
            with self._mu:
                fed = self._fed
            try:
                with self._mu:
                    data = self.ssl.read(n)
                try:
                    await self._flush()
                except BaseException:
                    self.push(data)
                    raise
                return data
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed(fed)
            except ssl.SSLZeroReturnError:
                return b""

    async def write(self, data: Buffer) -> None:
        """All of data.  Raises as Conn.write does; `written` counts bytes of data, not of records.  TypeError for a
        str."""
        if isinstance(data, str):
            raise TypeError("write takes bytes, not str: write data.encode()")
        view = memoryview(data).cast("B")
        if not self._ready:
            await self.handshake()
        async with self._writing:
            await self._write(view, 0)

    async def _write(self, view: memoryview, before: int) -> None:
        """The same; `_writing` is held.  before: what `written` begins with."""
        done = 0
        try:
            while done < len(view):
                n = 0
                with self._mu:
                    fed = self._fed
                    try:
                        n = self.ssl.write(view[done : done + CHUNK * 4])
                    except ssl.SSLWantReadError:
                        pass  # a renegotiation: it goes on with what the peer says
                await self._flush()
                done += n
                if n == 0:
                    await self._feed(fed)
        except BaseException as e:
            e.written = before + done  # type: ignore[attr-defined]
            raise

    async def writev(self, buffers: Iterable[Buffer]) -> None:
        """As Conn.writev."""
        await self.write(b"".join(buffers))

    async def sendfile(self, file: Sendable, offset: int = 0, count: int | None = None) -> int:
        """As Conn.sendfile: from byte `offset` on, `count` bytes.  The file is read, since it has to be encrypted."""
        source = Source(file, offset, count)
        if not self._ready:
            await self.handshake()
        sent = 0
        async with self._writing:
            while data := await source.read():
                await self._write(memoryview(data), sent)
                sent += len(data)
        return sent

    async def close_write(self) -> None:
        """Tells the peer that no more will be written (close_notify); reading goes on."""
        async with self._writing:
            self._unwrap()
            await self._flush()

    def close_read(self) -> None:
        """Reads raise ssl.SSLEOFError from now on, or give what has been taken from the peer already."""
        self.conn.close_read()

    def close(self) -> None:
        """Closes the connection at once, without a close_notify (`async with` sends one)."""
        self.conn.close()

    def reset(self) -> None:
        """As Conn.reset."""
        self.conn.reset()

    def fileno(self) -> int:
        """As Conn.fileno.  What goes through the descriptor is encrypted."""
        return self.conn.fileno()

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """As Conn.setsockopt."""
        self.conn.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int, buflen: int = 0) -> int | bytes:
        """As Conn.getsockopt."""
        return self.conn.getsockopt(level, option, buflen)

    def set_no_delay(self, on: bool) -> None:
        """As Conn.set_no_delay."""
        self.conn.set_no_delay(on)

    def set_deadline(self, seconds: float | None) -> None:
        """As Conn.set_deadline."""
        self.conn.set_deadline(seconds)

    def set_read_deadline(self, seconds: float | None) -> None:
        """As Conn.set_read_deadline."""
        self.conn.set_read_deadline(seconds)

    def set_write_deadline(self, seconds: float | None) -> None:
        """As Conn.set_write_deadline."""
        self.conn.set_write_deadline(seconds)

    async def __aenter__(self) -> TLSConn:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            if exc is None and not self.closed and self._ready:
                await self._leave()
        except OSError:
            pass  # the peer is gone, or takes nothing: there is nobody to tell
        finally:
            self.close()

    async def _leave(self) -> None:
        """Sends a close_notify if nothing stands in its way, and waits GOODBYE_S at most, as Go's Conn.Close.  While
        another goroutine is blocked in a write there is no place for it: then the connection is just closed."""
        if not self._sending.try_lock():
            return
        try:
            self._unwrap()
            with self._mu:
                data = self._out.read()
            if data:
                self.conn.set_write_deadline(GOODBYE_S)
                await self._send(data)
        finally:
            self._sending.unlock()

    def _unwrap(self) -> None:
        """Makes the close_notify."""
        with self._mu:
            try:
                self.ssl.unwrap()
            except ssl.SSLError:
                pass  # wants the peer's answer, which read() takes


async def tls_client(conn: Conn, server_name: str | None, context: ssl.SSLContext | None = None) -> TLSConn:
    """TLS over a connection, as the client.  server_name: for SNI and the certificate's check.  context: by default the
    system's trust store.  Raises as TLSConn.handshake; the connection is closed then.  Follows Go's tls.Client."""
    return await _start(conn, context or ssl.create_default_context(), False, server_name)


async def tls_server(conn: Conn, context: ssl.SSLContext) -> TLSConn:
    """TLS over a connection, as the server; context holds the certificate.  Raises as TLSConn.handshake; the connection
    is closed then.  Follows Go's tls.Server."""
    return await _start(conn, context, True, None)


async def _start(conn: Conn, context: ssl.SSLContext, server: bool, server_name: str | None) -> TLSConn:
    tls = _over(conn, context, server, server_name)
    try:
        await tls.handshake()
    except BaseException:
        tls.close()
        raise
    return tls


def _over(conn: Conn, context: ssl.SSLContext, server: bool, server_name: str | None) -> TLSConn:
    """A TLSConn before its handshake; closes the connection where the context does not fit."""
    try:
        return TLSConn(conn, context, server, server_name)
    except BaseException:
        conn.close()
        raise


def name_to_check(host: str) -> str:
    """What a host is called in SNI and in certificates: without a zone and without the dots at the end that make a name
    absolute (RFC 6066, section 3; Go's hostnameInSNI)."""
    if ":" in host:
        host = host.partition("%")[0]
    return host.rstrip(".") or host


async def dial_tls(
    network: str,
    address: str | Addr,
    context: ssl.SSLContext | None = None,
    server_name: str | None = None,
    timeout: float | None = None,
) -> TLSConn:
    """gort.net.dial, then TLS; `timeout` seconds for both.  server_name: by default the host of the address; without a
    host "localhost", as for dial.  Raises DeadlineExceeded after `timeout`, what dial raises, and what
    TLSConn.handshake raises.  Follows Go's tls.Dial (crypto/tls)."""
    address = check_address(address, "dial_tls")
    end = None if timeout is None else time.monotonic() + timeout
    conn = await Dialer(timeout).dial(network, address)
    try:
        name = server_name or (split_host_port(address)[0] or "localhost" if network != "unix" else None)
        if end is not None:
            conn.set_deadline(end - time.monotonic())
        tls = await tls_client(conn, name, context)
        if end is not None:
            conn.set_deadline(None)
    except DeadlineExceeded:
        conn.close()
        raise DeadlineExceeded(f"dial tls {address}: timed out after {timeout} s, in the handshake") from None
    except BaseException:
        conn.close()
        raise
    return tls


class TLSListener(Shared):
    """A listener whose connections speak TLS.  The handshake runs when the connection's goroutine asks for it
    (`await conn.handshake()`, or its first read or write), so a slow client holds nobody up.  `inner` is the listener
    beneath, whose methods it has."""

    def __init__(self, inner: Listener, context: ssl.SSLContext) -> None:
        self.inner = inner
        self.context = context

    @property
    def addr(self) -> Addr:
        """The address it listens on."""
        return self.inner.addr

    @property
    def local_addr(self) -> Addr:
        """The same as addr."""
        return self.inner.addr

    @property
    def network(self) -> str:
        """As Listener.network."""
        return self.inner.network

    @property
    def closed(self) -> bool:
        """Whether close() has been called."""
        return self.inner.closed

    @property
    def on_error(self) -> Callable[[str], None]:
        """As Listener.on_error."""
        return self.inner.on_error

    @on_error.setter
    def on_error(self, call: Callable[[str], None]) -> None:
        self.inner.on_error = call

    def describe(self) -> str:
        """How messages name it."""
        return f"tls {self.inner.describe()}"

    def __repr__(self) -> str:
        return f"<gort.net.TLSListener over {self.inner!r}>"

    async def accept(self) -> TLSConn:
        """The next connection, before its handshake.  Raises as Listener.accept."""
        return _over(await self.inner.accept(), self.context, True, None)

    def close(self) -> None:
        """Stops listening."""
        self.inner.close()

    def fileno(self) -> int:
        """As Listener.fileno."""
        return self.inner.fileno()

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """As Listener.setsockopt."""
        self.inner.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int, buflen: int = 0) -> int | bytes:
        """As Listener.getsockopt."""
        return self.inner.getsockopt(level, option, buflen)

    def set_deadline(self, seconds: float | None) -> None:
        """As Listener.set_deadline."""
        self.inner.set_deadline(seconds)

    def set_read_deadline(self, seconds: float | None) -> None:
        """As Listener.set_read_deadline."""
        self.inner.set_read_deadline(seconds)

    def set_write_deadline(self, seconds: float | None) -> None:
        """As Listener.set_write_deadline."""
        self.inner.set_write_deadline(seconds)

    def __aiter__(self) -> TLSListener:
        return self

    async def __anext__(self) -> TLSConn:
        return _over(await self.inner.__anext__(), self.context, True, None)

    async def __aenter__(self) -> TLSListener:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


async def listen_tls(
    network: str,
    address: str | Addr,
    context: ssl.SSLContext,
    *,
    backlog: int = 0,
    reuse_port: bool = False,
    mode: int | None = None,
) -> TLSListener:
    """gort.net.listen with TLS.  Takes and raises what listen does: backlog connections may wait, mode holds a Unix
    socket's permissions.  Follows Go's tls.Listen."""
    inner = await listen(network, address, backlog=backlog, reuse_port=reuse_port, mode=mode)
    return TLSListener(inner, context)
