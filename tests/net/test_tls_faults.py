"""Faults of TLS connections that users of other libraries reported, each with the right value."""

from __future__ import annotations

from typing import Any

import pytest
from netkit import go_result, tls_pair

from gort import net
from gort.net import tls
from support import parked


def test_n3_leaving_the_block_while_another_goroutine_is_blocked_writing(run: Any, certificates: Any) -> None:
    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, _b):
            async with a:
                out = go_result(a.write, bytes(64 << 20))  # nobody reads
                await parked(1, "IO wait")
            assert a.closed
            assert isinstance(await out.recv(), net.Closed)

    run(main)


def test_n3_leaving_the_block_while_the_peer_reads_nothing(run: Any, certificates: Any, monkeypatch: Any) -> None:
    """The close_notify finds no room.  Its time is limited."""
    monkeypatch.setattr(tls, "GOODBYE_S", 0.01)

    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, b):
            async with a:
                a.conn.set_write_deadline(0.01)
                with pytest.raises(net.DeadlineExceeded):
                    while True:
                        await a.conn.write(bytes(1 << 16))  # beneath TLS: what counts is that the buffers are full
                a.conn.set_write_deadline(None)
            assert a.closed
            assert not b.closed

    run(main)


def test_n3_leaving_the_block_still_says_goodbye(run: Any, certificates: Any) -> None:
    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, b):
            async with a:
                await a.write(b"last")
            assert await b.read() == b"last"
            assert await b.read() == b""

    run(main)
