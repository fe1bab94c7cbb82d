"""`gort top PID`: shows a running program in the terminal: what looks wrong, processors, goroutines by kind, channels and
locks.

It reads the events of the program's live page (`gort view PID`); the program need not be prepared.  It goes on until the
program ends, or Ctrl-C.

What does not live here: what is shown (_runtime/see/looks.py), how the page is asked for (dump.py).
"""

from __future__ import annotations

import http.client
import io
import json
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gort.cli import dump

EVENTS_S = 30.0  # the page sends something more often than that
OBJECTS = 5  # so many channels and locks are shown
FULL = 32  # server.CONNECTIONS_MAX


def events(address: str) -> Iterator[dict[str, Any]]:
    """The looks of the page, until it ends."""
    split = urlsplit(address)
    assert split.hostname is not None
    connection = http.client.HTTPConnection(split.hostname, split.port, timeout=EVENTS_S)
    began = False
    try:
        connection.request("GET", f"/events?{split.query}")
        answer = connection.getresponse()
        if answer.status != 200:
            dump.fail(f"the page has answered {answer.status}", "top")
        began = True
        while line := answer.readline():
            if line.startswith(b"data: "):
                found = json.loads(line[6:])
                if found.get("ended"):
                    return
                yield found
    except (OSError, http.client.HTTPException) as e:
        if not began:
            dump.fail(f"the page does not answer ({e}): {FULL} at most can watch it at once", "top")
        return  # the program has ended
    finally:
        connection.close()


def place(frame: list[Any]) -> str:
    """`function file:line`."""
    return f"{frame[0]} {os.path.basename(frame[1])}:{frame[2]}"


def rate(now: dict[str, Any], before: dict[str, Any] | None, name: str) -> float:
    """How much a counter has grown in a second."""
    passed = (now["ns"] - before["ns"]) / 1e9 if before else 0.0
    return float((now["counters"][name] - before["counters"][name]) / passed) if before and passed > 0 else 0.0


def objects(look: dict[str, Any]) -> Table:
    """The channels and locks for which most goroutines wait, and how much goes through them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("waiting", justify="right")
    table.add_column("each second")
    table.add_column("channel or lock", overflow="ellipsis", no_wrap=True)
    table.add_column("its holder", overflow="ellipsis", no_wrap=True)
    for each in look["objects"][:OBJECTS]:
        holder = each["holder"]
        table.add_row(
            str(each["waiters"]),
            ", ".join(f"{n:.0f} {what}" for what, n in each["rates"].items()),
            each["text"],
            Text(f"[{holder['state']}] {place(holder['stack'][0]) if holder['stack'] else ''}" if holder else ""),
        )
    return table


def picture(look: dict[str, Any], before: dict[str, Any] | None, height: int) -> Group:
    """One screen."""
    head = Text.assemble(
        ("gort ", "bold"),
        f"{os.path.basename(look['program'])}  pid {look['pid']}  {look['goroutines']} goroutines, "
        f"{look['runnable']} runnable  {look['threads']} threads, {look['idle_threads']} idle  "
        f"{look['memory'] / 1e6:.0f} MB\n",
        f"{rate(look, before, 'switches'):.0f} switches/s  {rate(look, before, 'handoffs'):.0f} hand-offs/s  "
        f"{rate(look, before, 'preemptions'):.0f} preemptions/s  "
        f"{rate(look, before, 'blocked_ns') / 1e9:.1f} threads blocked in calls\n",
    )
    wrong = Text()
    for each in look["wrong"]:
        wrong.append(f"{each['text']}\n", "red")
    if not look["wrong"]:
        wrong.append("nothing looks wrong\n", "green")
    waits = objects(look)
    lines = max(3, height - 9 - len(look["wrong"]) * 3 - min(len(look["ps"]), 8) - waits.row_count)
    ps = Table.grid(padding=(0, 2))
    for p in look["ps"][:8]:
        ps.add_row(f"P{p['id']}", f"goroutine {p['goid']}" if p["goid"] else "idle", f"{p['queue']} queued")
    if len(look["ps"]) > 8:
        ps.add_row("…", f"{len(look['ps']) - 8} more", "")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("count", justify="right")
    table.add_column("oldest", justify="right")
    table.add_column("state")
    table.add_column("where", overflow="ellipsis", no_wrap=True)
    table.add_column("started by", overflow="ellipsis", no_wrap=True)
    for group in look["groups"][:lines]:
        table.add_row(
            str(group["count"]),
            f"{group['oldest']:.1f} s" if group["oldest"] >= 0.1 else "",
            group["state"],
            Text(place(group["stack"][0]) if group["stack"] else ""),
            Text(place(group["by"]) if group["by"] else ""),
        )
    rest = (Text(), waits) if waits.row_count else ()
    return Group(head, wrong, ps, Text(), table, *rest)


@click.command()
@click.option("--once", is_flag=True, help="Show what is there after three seconds, and end.")
@click.option("--timeout", type=float, default=10.0, show_default=True, help="Seconds to wait for the answer.")
@click.argument("pid", type=click.IntRange(min=1))
def command(pid: int, once: bool, timeout: float) -> None:
    """Watch the running program PID in the terminal: what looks wrong in it, its processors, its goroutines by kind."""
    address = dump.page(pid, timeout, "top")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file may be no text
    console = Console(highlight=False)
    before: dict[str, Any] | None = None
    seen = 0
    first: dict[str, Any] | None = None
    if once:
        for look in events(address):
            seen += 1
            first = first or look
            if (look["ns"] - first["ns"]) / 1e9 >= 2.5:
                console.print(picture(look, before, 60))
                return
            before = look
        dump.fail(f"the program of process {pid} has ended", "top")
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        for look in events(address):
            live.update(picture(look, before, console.height), refresh=True)
            before = look
    console.print(f"the program of process {pid} has ended")
