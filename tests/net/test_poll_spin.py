"""A poller that looks before it sleeps: GODEBUG=pollspin, and the processes of a cluster.

What does not live here: what it gains (docs/cluster.md, the rows cluster-go and cluster-strict of gort bench)."""

from __future__ import annotations

import sys

import pytest

import clusterkit
import gort
from gort._runtime.core import debugvars
from support import environment, python

pytestmark = pytest.mark.skipif(
    not gort.runtime.compiled or debugvars.num_cpu() < 2 or sys.platform != "linux",
    reason="the compiled core looks so, on epoll and two processors",
)

# Answers each byte with a byte, and is killed at the end.
ECHO = """
import os, socket, sys
sock = socket.socket(fileno=int(sys.argv[1]))
while data := sock.recv(100): sock.sendall(data)
"""
ASKS = """
import socket, subprocess, sys, time
import gort
from gort import net
from gort._runtime.core import runtime2

def poller():
    return runtime2.current_m().sched.netpoll

async def main():
    ours, theirs = socket.socketpair()
    echo = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(theirs.fileno())], pass_fds=[theirs.fileno()])
    theirs.close()
    conn = net.from_socket(ours)
    asked = 0
    while asked < 300 or (sys.argv[2] == "until" and poller().spun < 20):
        await conn.write(b"x")
        assert await conn.read(10) == b"x"
        asked += 1
    used = time.process_time()
    async with gort.move_on_after(1.0):
        await conn.read(10)
    used = time.process_time() - used
    conn.close()
    echo.wait()
    return poller().spinns, poller().spun, used

print(*gort.run(main))
"""


def asks(pollspin: str | None, how: str) -> tuple[int, int, float]:
    debug = None if pollspin is None else f"pollspin={pollspin}"
    done = python(ASKS, ECHO, how, env=environment(GODEBUG=debug))
    assert (done.returncode, done.stderr) == (0, "")
    spinns, spun, used = done.stdout.split()
    return int(spinns), int(spun), float(used)


def test_a_poller_that_is_to_looks_before_it_sleeps_and_sleeps_where_nothing_comes() -> None:
    spinns, spun, used = asks("5000", "until")
    assert spinns == 1_000_000  # the most
    assert spun >= 20
    assert used < 0.5  # of the second in which nothing came; a look in vain takes 0.001


@pytest.mark.parametrize("pollspin", [None, "0", "-1", "word"])
def test_by_default_none_does(pollspin: str | None) -> None:
    spinns, spun, _ = asks(pollspin, "once")
    assert (spinns, spun) == (0, 0)


def test_the_processes_of_a_cluster_do_while_they_are_in_one() -> None:
    async def main() -> tuple[int, int, int]:
        async with clusterkit.connect(1) as c:
            inside = clusterkit.spinns()
            there = await c.go(clusterkit.spinns)
        return inside, there, clusterkit.spinns()

    assert gort.run(main) == (80_000, 80_000, 0)
