"""examples/webapp.py, served as a user serves it: the view that blocks stalls nobody."""

from __future__ import annotations

import re
import socket
import subprocess

from servekit import get

from support import PATIENCE_S, ROOT, command

NAME = "webapp"


def test_webapp() -> None:
    """Thirty clients ask for the view that sleeps for a second; another client is answered before any of them."""
    args = command("serve", f"{NAME}:app", "--app-dir", str(ROOT / "examples"), "-b", "127.0.0.1:0")
    child = subprocess.Popen(args, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    try:
        found = re.search(r"http://(\S+):(\d+)", child.stderr.readline())
        assert found
        address = found[1], int(found[2])
        slow = [socket.create_connection(address) for _ in range(30)]
        for s in slow:
            s.sendall(get("/slow"))
        with socket.create_connection(address) as quick:
            quick.sendall(get("/"))
            assert quick.recv(1000).startswith(b"HTTP/1.1 200")
        slow[0].setblocking(False)
        try:
            early = slow[0].recv(1000)
        except BlockingIOError:
            early = b""
        assert early == b""
        for s in slow:
            s.setblocking(True)
            assert s.recv(1000).endswith(b"done\n")
            s.close()
        child.terminate()
        assert child.wait(PATIENCE_S) == 0
    finally:
        child.kill()
        child.wait()
        child.stderr.close()
