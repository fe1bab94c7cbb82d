"""`gort view PID`: begins the live page of a running program and prints its address.

The program need not be prepared (watch/dumps.py).  The page stays until the program ends.  A browser is given a file that
leads to the address, in a folder that only the user may enter; the next command for the same process writes it anew.
"""

from __future__ import annotations

import os

import click

from gort._runtime.watch import dumps
from gort.cli import dump


@click.command()
@click.option("--browser", is_flag=True, help="Open the page, too.")
@click.option("--timeout", type=float, default=10.0, show_default=True, help="Seconds to wait for the answer.")
@click.argument("pid", type=click.IntRange(min=1))
def command(pid: int, browser: bool, timeout: float) -> None:
    """Show the running program PID in a browser: what looks wrong in it, its processors, goroutines, channels and locks.

    The address has a token in it. Who has the address can read what the program does, from this machine alone."""
    address = dump.page(pid, timeout, "view")
    click.echo(address)
    if browser:
        # Not the address itself: anybody on this machine may read the arguments of a process.
        page = f"{dumps.folder(os.geteuid())}/{pid}.html"
        dumps.write(page, f'<!doctype html><meta http-equiv="refresh" content="0;url={address}">'.encode())
        click.launch(page)
