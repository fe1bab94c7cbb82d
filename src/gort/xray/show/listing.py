"""Tables of one kind of thing: the packages' inits, with what they cost. Each is printed as text or given as data."""

from __future__ import annotations

from gort.xray.boot.follow import Boot
from gort.xray.boot.inits import Init
from gort.xray.errors import LimitError
from gort.xray.show.paper import Paper, bold, dim, plain, yellow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NS = 1_000_000


def inits_data(boot: Boot) -> list[dict[str, Any]]:
    """Returns the packages' inits, the most expensive first."""
    return [
        {
            "package": init.package,
            "instructions": init.instructions,
            "allocations": init.allocations,
            "bytes": init.bytes,
            "syscalls": init.syscalls,
            "waited_ns": init.waited_ns,
            "returned": init.returned,
            "functions": [
                {
                    "name": f.name,
                    "instructions": f.instructions,
                    "syscalls": f.syscalls,
                    "waited_ns": f.waited_ns,
                    "returned": f.returned,
                }
                for f in init.functions
            ],
        }
        for init in _by_cost(boot.inits)
    ]


def _by_cost(inits: list[Init]) -> list[Init]:
    return sorted(inits, key=lambda i: (-i.instructions, i.package))


def print_inits(boot: Boot, console: Paper, full: bool = False) -> None:
    """Print the packages' inits, the most expensive first; with `full` their functions as well."""
    total = sum(init.instructions for init in boot.inits)
    console.print(bold(f"{'instructions':>14} {'share':>6} {'allocs':>8} {'bytes':>10} {'syscalls':>8}  package"))
    for init in _by_cost(boot.inits):
        allocs = "–" if init.allocations is None else f"{init.allocations:,}"
        size = "–" if init.bytes is None else f"{init.bytes:,}"
        share = f"{init.instructions / total:.1%}" if total else "–"
        waits = f" (waited {init.waited_ns / _NS:.3f} ms)" if init.waited_ns else ""
        open_ = "" if init.returned else yellow(" did not return")
        console.print(
            f"{init.instructions:>14,} {share:>6} {allocs:>8} {size:>10} {init.syscalls:>8}  {plain(init.package)}"
            + dim(waits)
            + open_,
            wrap=False,
        )
        for f in init.functions if full else ():
            console.print(
                dim(f"{f.instructions:>14,} {'':>6} {'':>8} {'':>10} {f.syscalls:>8}    {plain(f.name)}"), wrap=False
            )
    known = [init for init in boot.inits if init.allocations is not None and init.bytes is not None]
    allocs = f"{sum(i.allocations or 0 for i in known):,} allocations, {sum(i.bytes or 0 for i in known):,} bytes, "
    console.print(
        f"{bold(f'{len(boot.inits)} packages')}: {total:,} instructions, {allocs if known else ''}"
        f"{sum(i.syscalls for i in boot.inits)} system calls"
    )


def check_limits(boot: Boot, limit: int | None) -> None:
    """Raises `LimitError` where a package's init executes more instructions than it may, or did not return."""
    if limit is None:
        return
    over = [i for i in _by_cost(boot.inits) if i.instructions > limit or not i.returned]
    if over:
        worst = ", ".join(f"{i.package} {i.instructions:,}" for i in over[:8]) + (
            " and others" if len(over) > 8 else ""
        )
        raise LimitError(f"--inits-limit {limit}: more instructions in the init of {worst}")
