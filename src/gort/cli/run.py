"""`gort run FILE [args…]`: runs FILE's `async def main()`.

Its options, as click reads them. Where none is given click is not asked (__init__.py). The work is _run.py's.
"""

from __future__ import annotations

import click

from gort.cli import _run


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--procs", type=click.IntRange(min=1), default=None, help="Number of Ps (default: GOMAXPROCS).")
@click.option("-m", "is_module", is_flag=True, help="FILE is the name of a module, as in python -m.")
@click.argument("file", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(file: str, args: tuple[str, ...], procs: int | None, is_module: bool) -> None:
    """Run FILE's `async def main()` on gort.

    ARGS are the program's own: sys.argv[1:]. FILE is executed as `python FILE` executes it. If it calls gort.run itself,
    main is not called again."""
    _run.program(file, args, procs, is_module)
