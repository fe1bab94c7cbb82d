"""Tables of one kind of thing: the packages' inits with what they cost, functions, packages and types with their sizes,
texts.

Each is printed as text or given as data.
"""

from __future__ import annotations

from gort.xray.boot.follow import Boot, Static
from gort.xray.boot.inits import Init
from gort.xray.errors import LimitError, printable
from gort.xray.file.rtypes import RType, types
from gort.xray.file.sizes import Package, Sized, functions, packages
from gort.xray.file.strings import strings
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


def _functions(static: Static) -> list[Sized]:
    """Returns the functions, the largest first."""
    return sorted(functions(static.symbols), key=lambda s: (-s.size, s.func.entry))


def functions_data(static: Static) -> list[dict[str, Any]]:
    """Returns the functions, the largest first, each with its address in the file and its first line."""
    bias, where = static.image.bias, static.symbols.where
    return [
        {"name": s.func.name, "address": s.func.entry - bias, "size": s.size, "where": where(s.func.entry)}
        for s in _functions(static)
    ]


def print_functions(static: Static, console: Paper) -> None:
    """Print the functions, the largest first."""
    bias, total, number = static.image.bias, 0, 0
    console.print(bold(f"{'bytes':>9}  {'address':>14}  function"))
    for s in _functions(static):
        where = static.symbols.where(s.func.entry)
        place = dim(" " + plain(where)) if where else ""
        console.print(f"{s.size:>9,}  {s.func.entry - bias:>#14x}  {plain(s.func.name)}{place}", wrap=False)
        total, number = total + s.size, number + 1
    console.print(f"{bold(f'{number:,} functions')}: {total:,} bytes of code")


def strings_data(static: Static) -> list[dict[str, Any]]:
    """Returns the strings that code and data refer to, in the order of addresses."""
    bias = static.image.bias
    return [{"address": a - bias, "size": len(t.encode()), "text": t} for a, t in strings(static.symbols)]


def print_strings(static: Static, console: Paper) -> None:
    """Print the strings that code and data refer to, in the order of addresses."""
    bias, number, total = static.image.bias, 0, 0
    for address, text in strings(static.symbols):
        size = len(text.encode())
        console.print(f"{address - bias:>#14x} {size:>6}  {printable(text)}", wrap=False)
        number, total = number + 1, total + size
    console.print(f"{bold(f'{number:,} strings')}: {total:,} bytes")


def packages_of(static: Static) -> dict[str, Package]:
    """Returns the packages of a file, with the modules that its build information names."""
    build = static.build
    return packages(static.symbols, build.dependencies if build else (), build.module if build else "")


def _packages(static: Static) -> list[Package]:
    """Returns the packages, the largest first."""
    return sorted(packages_of(static).values(), key=lambda p: (-p.code, p.name))


def packages_data(static: Static) -> list[dict[str, Any]]:
    """Returns the packages, the largest first."""
    return [
        {"package": p.name, "code": p.code, "functions": p.functions, "data": p.data, "module": p.module}
        for p in _packages(static)
    ]


def print_packages(static: Static, console: Paper) -> None:
    """Print the packages, the largest first."""
    found = _packages(static)
    total = sum(p.code for p in found)
    console.print(bold(f"{'code':>11} {'share':>6} {'functions':>9} {'data':>11}  package"))
    for p in found:
        share = f"{p.code / total:.1%}" if total else "–"
        data = f"{p.data:,}" if not static.symbols.stripped else "–"
        console.print(
            f"{p.code:>11,} {share:>6} {p.functions:>9,} {data:>11}  {plain(p.name)}"
            + (dim(f" {plain(p.module)}") if p.module and p.name != "main" else ""),
            wrap=False,
        )
    functions_ = sum(p.functions for p in found)
    console.print(
        f"{bold(f'{len(found)} packages')}: {total:,} bytes of code in {functions_:,} functions, "
        + ("no names of data" if static.symbols.stripped else f"{sum(p.data for p in found):,} bytes of variables")
    )


def _types(static: Static) -> tuple[list[RType], dict[int, str]]:
    """Returns the types, the largest first, and the name of each by its address."""
    found = types(static.symbols, static.build.minor if static.build else None)
    return sorted(found, key=lambda t: (-t.size, t.full_name, t.address)), {t.address: t.full_name for t in found}


def types_data(static: Static) -> list[dict[str, Any]]:
    """Returns the types, the largest first, with their fields and methods."""
    bias, symbols = static.image.bias, static.symbols
    found, names = _types(static)
    return [
        {
            "name": t.full_name,
            "address": t.address - bias,
            "kind": t.kind,
            "size": t.size,
            "align": t.align,
            "element": names.get(t.element),
            "fields": [{"name": n, "type": names.get(of), "offset": offset} for n, of, offset in t.fields],
            "methods": [
                {"name": n, "type": names.get(of), "function": symbols.describe(code) if code else None}
                for n, of, code in t.methods
            ],
        }
        for t in found
    ]


def print_types(static: Static, console: Paper, full: bool = False) -> None:
    """Print the types, the largest first; with `full` also the fields and methods."""
    found, names = _types(static)
    console.print(bold(f"{'bytes':>9}  {'kind':<14} {'methods':>7}  type"))
    for t in found:
        methods = f"{len(t.methods):,}" if t.methods else ""
        console.print(f"{t.size:>9,}  {t.kind:<14} {methods:>7}  {plain(printable(t.full_name))}", wrap=False)
        for name, of, offset in t.fields if full else ():
            text = f"{name} {names.get(of, '?')}"
            console.print(dim(f"{'':>9}  {f'+{offset:#x}':<14} {'':>7}    {plain(printable(text))}"), wrap=False)
        for name, of, _ in t.methods if full else ():
            text = f"{name}{names.get(of, '').removeprefix('func')}"  # the linker drops types that nobody asks for
            console.print(dim(f"{'':>9}  {'method':<14} {'':>7}    {plain(printable(text))}"), wrap=False)
    named = sum(bool(t.package) for t in found)
    console.print(f"{bold(f'{len(found):,} types')}: {named:,} with a name of a package")
