"""`gort boot`: boots a runtime, shows every step with its time and what it established, then the state."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

WIDE = 1 << 16  # characters; longer than any step


def value(x: Any) -> str:
    """A detail as short text."""
    if isinstance(x, dict):
        return "{" + ", ".join(f"{k}={value(v)}" for k, v in x.items()) + "}"
    if isinstance(x, list):
        return "[" + " ".join(value(v) for v in x) + "]"
    return str(x)


def address(x: int) -> str:
    """An address as Go prints it."""
    return f"{x:#x}" if x else "unknown on this system"


def render(record: dict[str, Any], wide: bool = False) -> None:
    """The boot as a tree and the state after it. With `wide` each step is one line, however wide the terminal is."""
    from rich.console import Console
    from rich.markup import escape
    from rich.tree import Tree

    # A terminal wraps long steps inside the tree; into a file or a pipe each goes on one line, whole.
    folds = not wide and sys.stdout and sys.stdout.isatty()
    console = Console(highlight=False) if folds else Console(highlight=False, width=WIDE)
    root = Tree("[bold]gort boot[/]")
    nodes: dict[str | None, Tree] = {None: root}
    for step in record["steps"]:
        detail = step["detail"]
        if step["status"] == "skipped":
            text = f"[dim]{step['name']}  skipped: {escape(detail['reason'])}[/]"
        else:
            facts = detail
            if step["name"] == "rt0_go":
                g0 = detail["g0"]
                facts = {"g0.stack.lo": address(g0["stack"]["lo"]), "g0.stack.hi": address(g0["stack"]["hi"]),
                         "stackguard0": address(g0["stackguard0"]), "guards": detail["guards"],
                         **detail["cpu"]}  # fmt: skip
            shown = "  ".join(f"[cyan]{k}[/]={escape(value(v))}" for k, v in facts.items())
            text = f"[bold]{step['name']}[/]  [green]{step['ns'] / 1000:.1f} µs[/]  {shown}"
        nodes[step["name"]] = nodes.get(step["parent"], root).add(text)
    console.print(root)
    s = record["state"]
    g0 = s["g0"]
    console.print(
        f"\nncpu={s['ncpu']}  GOMAXPROCS={s['gomaxprocs']}  maxmcount={s['maxmcount']}  "
        f"core={'compiled' if s['compiled'] else 'uncompiled'}  GIL={'on' if s['gil'] else 'off'}"
    )
    console.print(
        f"g0: stack.lo={address(g0['stack']['lo'])}  stack.hi={address(g0['stack']['hi'])}  "
        f"stackguard0={address(g0['stackguard0'])}  m=m{g0['m']}"
    )
    for m in s["allm"]:
        p = "no P" if m["p"] is None else f"p{m['p']}"
        g = "g0" if m["curg"] is None else f"goroutine {m['curg']}"
        console.print(f"m{m['id']}: thread {m['procid']}  {p}  runs {g}" + ("  spinning" if m["spinning"] else ""))
    for p in s["allp"]:
        m = "" if p["m"] is None else f"  m{p['m']}"
        console.print(f"p{p['id']}: {p['status']}{m}  runq {p['runqsize']}  schedtick {p['schedtick']}")


def refuse(why: str) -> int:
    """One line on stderr; status 2."""
    click.echo(f"gort boot: {why}", err=True)
    return 2


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
@click.option("--wide", is_flag=True, help="Print each step on one line on a terminal too.")
@click.option(
    "--vs",
    "other",
    default=None,
    type=click.Path(path_type=str),
    metavar="FILE",
    help="Compare with the boot of this Go executable, as `gort xray FILE --vs-gort`.",
)
def command(as_json: bool, wide: bool, other: str | None) -> None:
    """Boot the runtime and print every step, its time, and the state."""
    if other is not None:
        from gort.cli import _xray

        _xray.run(**_xray.parameters(other, vs_gort=True, as_json=as_json))
    import gort

    try:
        record = gort.runtime.boot()
    except (ValueError, RuntimeError) as e:
        raise SystemExit(refuse(str(e))) from None
    if as_json:
        click.echo(json.dumps(record, indent=2, default=str))
    else:
        render(record, wide)
