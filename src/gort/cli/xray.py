"""`gort xray FILE`: follow the boot of a real Go executable in an emulator, from its entry point to main.main.

Here are the options, so that click can show them and explain mistakes in them. _xray.py does the work, and reads the
ordinary options itself.
"""

from __future__ import annotations

from typing import Any

import click

from gort.cli._xray import run


@click.command("xray")
@click.argument("file", type=click.Path(path_type=str))
@click.argument("arguments", nargs=-1, metavar="[-- ARGUMENT...]")
@click.option("--static", "static_only", is_flag=True, help="Read the file only; emulate nothing.")
@click.option(
    "--until",
    default="main.main",
    show_default=True,
    metavar="PLACE",
    help="Stop at a function, an address (0x47f7a0) or a line (hello.go:10); `exit` runs to the end.",
)
@click.option(
    "--print",
    "prints",
    multiple=True,
    metavar="EXPR",
    help="Print a value where it stops, as runtime.sched.maxmcount (repeatable).",
)
@click.option(
    "--watch",
    "watches",
    multiple=True,
    metavar="VAR",
    help="List every change of a variable, and who made it (repeatable).",
)
@click.option(
    "--steps",
    default=1_000_000_000,
    show_default=True,
    type=click.IntRange(1),
    metavar="N",
    help="Stop after N instructions.",
)
@click.option(
    "--memory",
    default=512,
    show_default=True,
    type=click.IntRange(16, 65536),
    metavar="MIB",
    help="Memory that the program may touch.",
)
@click.option(
    "--cpus",
    default=None,
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Processors the program sees.  [default: as many as this process may use]",
)
@click.option(
    "--sysroot",
    default="/",
    show_default=True,
    metavar="DIR",
    help="Where the libraries of a program linked to libc are: below DIR/lib and DIR/usr/lib.",
)
@click.option(
    "--arch",
    default="",
    metavar="NAME",
    help="The processor whose part of a universal Mach-O file is read: amd64 or arm64.",
)
@click.option(
    "--argv", multiple=True, metavar="ARG", help="An argument for the program (repeatable), as those behind `--`."
)
@click.option(
    "--env", multiple=True, metavar="NAME=VALUE", help="Its environment (repeatable); nothing of yours is passed on."
)
@click.option(
    "--go-version",
    default="",
    metavar="1.N",
    help="The Go that built the file, where the file does not say it; as 1.16 or go1.16.2.",
)
@click.option("--args", "call_arguments", is_flag=True, help="Show the arguments with which each station was called.")
@click.option("--inits", is_flag=True, help="Show what each package's init costs, the most expensive first.")
@click.option(
    "--inits-limit",
    default=None,
    type=click.IntRange(1),
    metavar="N",
    help="Fail (status 1) where a package's init takes more than N instructions.",
)
@click.option("--functions", is_flag=True, help="List the functions with their sizes; emulate nothing.")
@click.option("--packages", is_flag=True, help="List the packages with their sizes; emulate nothing.")
@click.option("--types", is_flag=True, help="List the types with their sizes; --full adds fields; emulate nothing.")
@click.option("--strings", is_flag=True, help="List the strings that code and data refer to; emulate nothing.")
@click.option(
    "--diff",
    default=None,
    type=click.Path(path_type=str),
    metavar="FILE",
    help="Compare with another build: sizes, stations, inits.",
)
@click.option("--step", is_flag=True, help="Debug it: step, break and print, forwards and backwards.")
@click.option("--disasm", is_flag=True, help="Show the code of each station.")
@click.option("--full", is_flag=True, help="Show the small calls (locks, allocation) as stations of their own.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--vs-gort", is_flag=True, help="Compare with gort's own boot, step by step.")
@click.option(
    "--html",
    "html_path",
    default=None,
    type=click.Path(dir_okay=False),
    metavar="OUT",
    help="Write one self-contained page.",
)
def command(**options: Any) -> None:
    """Follow the boot of a real Go executable: the file is read and emulated, never run.

    Needs the extra: pip install 'gort[xray]'.
    """
    run(**options)
