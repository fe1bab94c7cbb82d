"""`gort bench`: measures gort beside Go, asyncio, uvloop, trio, gevent, threads and TonIO, in one run.

Each measurement is a process of its own; the peers take turns, several rounds. Prints medians and ratios, and
writes results.json, results.md and results.svg. docs/benchmarks.md says what each row means and how to read
the numbers.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console


@click.command(name="bench")
@click.argument("rows", nargs=-1, metavar="[ROW]...")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True, help="Rounds of every row.")
@click.option("--peers", default="", metavar="A,B,…", help="Only these peers beside gort.")
@click.option("--quick", is_flag=True, help="Fewer operations: minutes become seconds, the spread grows.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bench-results"),
    show_default=True,
    help="Where results.json, results.md and results.svg go.",
)
@click.option("--list", "only_list", is_flag=True, help="List the rows and the peers and measure nothing.")
def command(rows: tuple[str, ...], rounds: int, peers: str, quick: bool, out: Path, only_list: bool) -> None:
    """Measure gort beside its peers: Go, asyncio, uvloop, trio, gevent, threads, TonIO.

    ROW limits the run to some rows; it may be a pattern: 'select-*', 'parallel-*', 'echo-*'.
    A peer that is not installed is left out and named; `pip install "gort[bench]"` brings them.
    `gort bench xray [FILE]...` measures gort xray, with the FILEs as further Go executables.
    """
    if rows[:1] == ("xray",):
        _xray(rounds, list(rows[1:]))
        return
    from rich.console import Console

    from gort.cli._bench import machine, measure, plot, report, targets
    from gort.cli._bench import peers as finding
    from gort.cli._bench import rows as table

    # Into a file or a pipe the tables go whole; a terminal has the width that it has.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    status = Console(stderr=True)
    try:
        chosen = table.choose(rows, quick)
        wanted = tuple(name.strip() for name in peers.split(",") if name.strip())
        with status.status("looking for the peers, building the Go program …"):
            found = finding.all_peers(wanted)
    except (ValueError, finding.BenchError) as error:
        raise click.ClickException(str(error)) from None
    for peer in found:
        console.print(
            f"{peer.key} [dim]{peer.version}[/]"
            if not peer.missing
            else f"[yellow]{peer.key}: left out, {peer.missing}[/]",
            highlight=False,
        )
    if only_list:
        for row in chosen:
            console.print(f"{row.key:22} n = {row.n:>9,}  {row.text}", highlight=False)
        return
    gort = next(peer for peer in found if peer.key == "gort")
    if gort.missing:
        raise click.ClickException(f"gort itself does not run: {gort.missing}")

    facts = machine.describe()
    if os.getloadavg()[0] > 0.5 * machine.processors():
        console.print(f"[yellow]the machine is busy (load {os.getloadavg()[0]:.1f}): numbers will spread[/]")
    results: list[measure.Result] = []
    verdicts: list[targets.Verdict] = []
    with status.status("") as line:
        for result in measure.run_rows(chosen, found, rounds, lambda text: line.update(text)):
            results.append(result)
            cells = "  ".join(f"{name} {report.cell(result, name)}" for name in result.values)
            status.print(f"[dim]{result.row.key}: {cells}[/]", highlight=False)
            # Written after every row: a long run that is interrupted keeps what it has measured.
            verdicts = targets.judge(results, bool(facts["gort_compiled"]), bool(facts["gil"]))
            facts["load_after"] = list(os.getloadavg())
            report.write(out, facts, results, found, verdicts)
    console.print()
    for title, header, lines in report.tables(results, found):
        show(console, title, header, lines)
    if verdicts:
        show(
            console,
            "Targets",
            ["target", "measured", "met"],
            [[v.text, v.measured, "yes" if v.met else "NO"] for v in verdicts],
        )
    for text in report.failures(results):
        console.print(f"[yellow]{text}[/]", highlight=False)
    title = f"gort and its peers, CPython {facts['python']}, {facts['cpu']}"
    drawn = plot.write(out, results, found, title)
    console.print(f"wrote {out}/results.json, results.md{', results.svg' if drawn else ''}", highlight=False)


def show(console: Console, title: str, header: list[str], rows: list[list[str]]) -> None:
    """Prints one table; the first column names, the others are numbers."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print()


def _xray(rounds: int, files: list[str]) -> None:
    """`gort bench xray [FILE]...`: the emulated boot of a hello world, and the boot and static part of large files."""
    from gort.xray.errors import XrayError
    from gort.xray.show.bench import measure, print_rows

    try:
        print_rows(measure(rounds, files))
    except XrayError as error:
        raise click.ClickException(str(error)) from None
