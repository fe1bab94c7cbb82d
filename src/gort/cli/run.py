"""`gort run FILE [args…]`: runs FILE's `async def main()`.

Its options, as click reads them. Where none is given click is not asked (__init__.py). The work is _run.py's.
"""

from __future__ import annotations

import click

from gort.cli import _run


class Command(click.Command):
    """The command; `--view` may have a port, `--view=8080`, but does not take the next word for one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Makes `--view=0` of `--view`, before FILE."""
        args = list(args)
        values = {name for option in self.params if not getattr(option, "is_flag", True) for name in option.opts}
        i = 0
        while i < len(args) and args[i].startswith("-") and args[i] != "--":
            if args[i] == "--view":
                args[i] = "--view=0"
            i += 2 if args[i] in values else 1
        return super().parse_args(ctx, args)


@click.command(cls=Command, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--procs", type=click.IntRange(min=1), default=None, help="Number of Ps (default: GOMAXPROCS).")
@click.option("-m", "is_module", is_flag=True, help="FILE is the name of a module, as in python -m.")
@click.option("--cpuprofile", type=click.Path(), help="Write what has used the processor, for go tool pprof.")
@click.option("--blockprofile", type=click.Path(), help="Write where goroutines have waited, and for how long.")
@click.option("--mutexprofile", type=click.Path(), help="Write who has let others wait for a mutex, and for how long.")
@click.option("--goroutineprofile", type=click.Path(), help="Write the goroutines that are left when main returns.")
@click.option("--framesprofile", type=click.Path(), help="Write what the frames of those hold in memory.")
@click.option("--trace", type=click.Path(), help="Write an execution trace, for go tool trace and gort trace.")
@click.option("--view", type=click.IntRange(0, 65535), metavar="[=PORT]", help="Serve the live page on this machine.")
@click.argument("file", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(
    file: str,
    args: tuple[str, ...],
    procs: int | None,
    is_module: bool,
    cpuprofile: str | None,
    blockprofile: str | None,
    mutexprofile: str | None,
    goroutineprofile: str | None,
    framesprofile: str | None,
    trace: str | None,
    view: int | None,
) -> None:
    """Run FILE's `async def main()` on gort.

    ARGS are the program's own: sys.argv[1:]. FILE is executed as `python FILE` executes it. If it calls gort.run itself,
    main is not called again."""
    if view is not None:
        from gort.cli import _profiled

        _profiled.serve(view)
    if not any((cpuprofile, blockprofile, mutexprofile, goroutineprofile, framesprofile, trace)):
        _run.program(file, args, procs, is_module)
        return
    from gort.cli import _profiled

    left = {"goroutine": goroutineprofile, "frames": framesprofile}
    with _profiled.profiled(cpuprofile, left, trace, blockprofile, mutexprofile):
        _run.program(file, args, procs, is_module)
