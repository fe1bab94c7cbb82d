"""`gort xray FILE`: follow the boot of a real Go executable in an emulator, from its entry point to main.main.

The command layer only: options, progress, exit status. The work is done by `gort.xray`, which knows nothing of gort's
own runtime; for `--vs-gort` this file asks for gort's boot record in a process of its own (`gort boot --json`).

Exit status: 0 when the report was made, 2 with one line on standard error when the file or an option is no good.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import click


class _Progress:
    """One line on a terminal's standard error, once a run takes longer than a second."""

    def __init__(self, steps: int) -> None:
        self.started = self.shown = time.monotonic()
        self.steps = steps
        self.used = False

    def __call__(self, instructions: int, station: str) -> None:
        now = time.monotonic()
        if now - self.started < 1 or now - self.shown < 0.25:
            return
        self.shown, self.used = now, True
        end = "\r" if sys.stderr.isatty() else "\n"
        if end == "\n":
            self.shown += 5  # a log need not see every quarter of a second
        rate = instructions / (now - self.started) / 1e6
        click.echo(
            f"xray: {instructions / 1e6:.1f} M instructions, {rate:.1f} M/s, after {station}".ljust(100) + end,
            nl=False,
            err=True,
        )

    def done(self) -> None:
        if self.used and sys.stderr.isatty():
            click.echo(" " * 100 + "\r", nl=False, err=True)


def _gort_boot(env: tuple[str, ...]) -> dict[str, Any]:
    """gort's own boot record, from a process of its own."""
    from gort.xray.errors import XrayError

    environment = dict(os.environ)
    environment.update(e.partition("=")[::2] for e in env)
    done = subprocess.run(
        [sys.executable, "-m", "gort", "boot", "--json"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    try:
        record = json.loads(done.stdout)
    except ValueError:
        record = None
    if done.returncode != 0 or not isinstance(record, dict):
        line = (done.stderr.strip().splitlines() or ["it printed no JSON"])[-1]
        raise XrayError(f"--vs-gort: `gort boot --json` failed with status {done.returncode}: {line}")
    return record


def _report(work: Callable[[], None]) -> int:
    """Do the work; what is wrong with the file or the options becomes one line and status 2."""
    from gort.xray.errors import XrayError

    try:
        work()
        sys.stdout.flush()
    except XrayError as exc:
        click.echo(f"gort xray: {exc}", err=True)
        return 2
    except MemoryError:
        click.echo("gort xray: out of memory: the file asks for more than this machine has", err=True)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader has gone, as with `| head`
    return 0


def _guard(work: Callable[[], None]) -> None:
    """Do the work in a child process: a crash of the emulator's native code is then a message, and no crash here.

    The child does without core dumps. Where there is no fork, the work is done here.
    """
    if not hasattr(os, "fork"):
        raise SystemExit(_report(work))
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            status = _report(work)
        except KeyboardInterrupt:
            status = 130
        except SystemExit as exc:
            status = exc.code if isinstance(exc.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    while True:
        try:
            _, how = os.waitpid(pid, 0)
            break
        except KeyboardInterrupt:
            continue  # the child got it too, and ends
    if os.WIFSIGNALED(how):
        name = signal.Signals(os.WTERMSIG(how)).name
        click.echo(f"gort xray: the emulator itself ended with {name} on this file: try --static", err=True)
        raise SystemExit(2)
    raise SystemExit(os.WEXITSTATUS(how))


@click.command("xray")
@click.argument("file", type=click.Path(path_type=str))
@click.option("--static", "static_only", is_flag=True, help="Read the file only; emulate nothing.")
@click.option(
    "--until",
    default="main.main",
    show_default=True,
    metavar="NAME",
    help="Stop when this function is entered; `exit` runs to the end.",
)
@click.option(
    "--steps",
    default=200_000_000,
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
    "--argv", multiple=True, metavar="ARG", help="An argument for the program (repeatable); the first is not its name."
)
@click.option(
    "--env", multiple=True, metavar="NAME=VALUE", help="Its environment (repeatable); nothing of yours is passed on."
)
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
def command(
    file: str,
    static_only: bool,
    until: str,
    steps: int,
    memory: int,
    cpus: int | None,
    argv: tuple[str, ...],
    env: tuple[str, ...],
    disasm: bool,
    full: bool,
    as_json: bool,
    vs_gort: bool,
    html_path: str | None,
) -> None:
    """Follow the boot of a real Go executable: the file is read and emulated, never run.

    Needs the extra: pip install 'gort[xray]'.
    """

    def work() -> None:
        from gort.xray.errors import XrayError
        from gort.xray.follow import Options, xray

        for item in env:
            if "=" not in item or item.startswith("="):
                raise XrayError(f"--env {item}: give NAME=VALUE, as GOMAXPROCS=3")
        if static_only and (vs_gort or html_path):
            raise XrayError("--static emulates nothing: there is no boot for --html or --vs-gort")
        progress = _Progress(steps)
        name = os.path.basename(file)
        options = Options(
            until=until,
            steps=steps,
            argv=[name, *argv],
            env=list(env),
            cpus=cpus,
            memory=memory << 20,
            progress=progress,
        )
        report = xray(file, options, static_only=static_only)
        progress.done()
        with report:
            if html_path is not None:
                from gort.xray.html import write_html

                write_html(report, html_path)
                click.echo(f"{html_path}: {len(report.boot.stations) if report.boot else 0} stations", err=True)
            if vs_gort:
                from gort.xray.vs_gort import compare, print_comparison

                if report.boot is None:
                    raise XrayError(f"--vs-gort: {report.why_no_boot}")
                comparison = compare(report.boot, _gort_boot(env))
                if as_json:
                    click.echo(json.dumps(comparison, indent=1))
                else:
                    print_comparison(comparison)
            elif as_json:
                from gort.xray.tojson import to_data

                click.echo(json.dumps(to_data(report), indent=1))
            elif html_path is None:
                from gort.xray.report import make_console, print_report

                print_report(report, make_console(), disasm=disasm, full=full)

    _guard(work)
