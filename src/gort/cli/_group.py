"""The group of commands, as click sees it. A command NAME is the attribute `command` of ``gort/cli/NAME.py``.

`gort --help` must stay quick and must work where an extra of one command is not installed, so a command's
module is imported only when that command is run (or asked for its own help). Its one line for the list is
read from the first line of the module's docstring, out of the source, without importing it.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import click

from gort.cli import Interrupted

# Listed in the order in which a user meets them; commands in other files follow, by name.
ORDER = ("run", "serve", "dump", "view", "top", "trace", "boot", "bench", "xray")


def command_files() -> dict[str, Path]:
    """The commands that exist, by name, in the order of the list that `--help` shows."""
    here = Path(__file__).parent
    files = {path.stem: path for path in sorted(here.glob("*.py")) if not path.stem.startswith("_")}
    first = {name: files.pop(name) for name in ORDER if name in files}
    return {**first, **files}


def summary(path: Path) -> str:
    """The first line of the docstring of the module in `path`, without importing it."""
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    line = doc.partition("\n")[0].strip()
    # "`gort run FILE`: runs ..." reads twice in a list that names the command already.
    if line.startswith("`gort ") and "`: " in line:
        line = line.partition("`: ")[2]
    return line.rstrip(".")


class LazyGroup(click.Group):
    """A click group that imports a command's module when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(command_files())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in command_files():
            return None
        module = importlib.import_module(f"gort.cli.{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command), f"gort/cli/{cmd_name}.py: `command` is no click command"
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command.  Ctrl-C passes click by."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as e:
            e.__traceback__ = None  # its frames hold it, and what the program held
            raise Interrupted from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, summary(path)) for name, path in command_files().items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # A forgotten `run` is the likeliest mistake; click's "No such command 'x.py'" does not help there.
        if args and args[0] not in command_files() and args[0].endswith(".py"):
            ctx.fail(f"No such command {args[0]!r}. To run a file: gort run {args[0]}")
        return super().resolve_command(ctx, args)


def version_text() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("gort")
    except PackageNotFoundError:
        return "unknown (not installed; running from a source tree)"


def print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"gort {version_text()}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Show the version and exit.",
)
def group() -> None:
    """Go's scheduler in Python: goroutines, channels and select."""
