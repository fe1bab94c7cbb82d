"""What `gort xray` does once its arguments are read: examines the file, and prints what was asked for.

For `--vs-gort` gort's boot record comes from a process of its own (`gort boot --json`), because `gort.xray` knows nothing
of gort's own runtime.

Invariant: a module that not every run needs is imported where it is needed.
"""

from __future__ import annotations

import os
import sys

from gort.xray.boot.follow import Options, Report, xray
from gort.xray.errors import XrayError
from gort.xray.record import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Progress(Protocol):
        """Shows that a long run goes on."""

        def __call__(self, instructions: int, station: str) -> None: ...
        def done(self) -> None: ...


@frozen
class Asked:
    """The arguments of the command."""

    file: str
    static_only: bool
    until: str
    steps: int
    memory: int
    """In MiB."""
    cpus: int | None
    sysroot: str
    argv: tuple[str, ...]
    env: tuple[str, ...]
    go_version: str
    arch: str
    disasm: bool
    full: bool
    as_json: bool
    vs_gort: bool
    html_path: str | None
    arguments: tuple[str, ...]
    prints: tuple[str, ...]
    watches: tuple[str, ...]
    inits: bool
    inits_limit: int | None
    functions: bool
    packages: bool
    strings: bool
    types: bool
    diff: str | None
    step: bool
    call_arguments: bool


def _gort_boot(env: tuple[str, ...]) -> dict[str, Any]:
    """Returns gort's own boot record, from a process of its own. Raises `XrayError` when that fails."""
    import json
    import subprocess

    from gort.xray.errors import XrayError

    environment = dict(os.environ)
    for item in env:
        name, _, value = item.partition("=")
        environment[name] = value
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


def _print_json(data: Any) -> None:
    import json

    sys.stdout.write(json.dumps(data, indent=1) + "\n")


def _options(asked: Asked, progress: Progress, file: str) -> Options:
    """Returns the options of a run. Raises `XrayError` for those that cannot be."""
    for item in asked.env:
        if "=" not in item or item.startswith("="):
            raise XrayError(f"--env {item}: give NAME=VALUE, as GOMAXPROCS=3")
    if not os.path.isdir(asked.sysroot):
        raise XrayError(f"--sysroot {asked.sysroot}: no such directory")
    return Options(
        until=asked.until,
        steps=asked.steps,
        prints=list(asked.prints),
        watches=list(asked.watches),
        arguments=asked.call_arguments,
        every_m=asked.html_path is not None,
        inits=asked.inits or asked.inits_limit is not None or asked.diff is not None,
        argv=[os.path.basename(file), *asked.argv, *asked.arguments],
        env=list(asked.env),
        cpus=asked.cpus,
        memory=asked.memory << 20,
        go_version=asked.go_version,
        arch=asked.arch,
        sysroot=asked.sysroot,
        progress=progress,
    )


def work(asked: Asked, progress: Progress) -> None:
    """Examine the file, and print what was asked for. Raises `XrayError`."""
    options = _options(asked, progress, asked.file)
    listing = next((o for o in ("functions", "packages", "strings", "types") if getattr(asked, o)), "")
    static = asked.static_only or bool(listing)
    for given, option in (
        (asked.html_path, "--html"),
        (asked.vs_gort, "--vs-gort"),
        (asked.prints, "--print"),
        (asked.watches, "--watch"),
        (asked.inits or asked.inits_limit, "--inits"),
    ):
        if static and given:
            raise XrayError(f"--{listing or 'static'} emulates nothing: there is no boot for {option}")
    if asked.step:
        _debug(asked, options)
        return
    report = xray(asked.file, options, static_only=static)
    if asked.diff is not None:
        options.argv = [os.path.basename(asked.diff), *asked.argv, *asked.arguments]
        with report, xray(asked.diff, options, static_only=static) as other:
            progress.done()
            _print_diff(asked, report, other)
        return
    progress.done()
    with report:
        if asked.html_path is not None:
            from gort.xray.show.html import write_html

            write_html(report, asked.html_path)
            sys.stderr.write(f"{asked.html_path}: {len(report.boot.stations) if report.boot else 0} stations\n")
        _print(asked, report)
        if report.boot is not None and asked.inits_limit is not None:
            from gort.xray.show.listing import check_limits

            check_limits(report.boot, asked.inits_limit)


def _debug(asked: Asked, options: Options) -> None:
    """Hand the file to the debugger. `--until` is where it stops first."""
    from gort.xray.boot.follow import EMULATED, examine
    from gort.xray.emulate.arch import ARCHES
    from gort.xray.step.prompt import debug

    options.progress = None
    with examine(asked.file, go_version=asked.go_version, arch=asked.arch) as static:
        if static.image.library or static.image.os not in EMULATED or static.image.arch not in ARCHES:
            raise XrayError(f"--step: {asked.file} is not emulated")
        debug(static, options, "" if asked.until in ("main.main", "exit") else asked.until)


def _print(asked: Asked, report: Report) -> None:
    if asked.functions or asked.packages or asked.strings or asked.types:
        _print_listing(asked, report)
    elif asked.vs_gort:
        from gort.xray.show.vs_gort import compare, print_comparison

        if report.boot is None:
            raise XrayError(f"--vs-gort: {report.why_no_boot}")
        comparison = compare(report.boot, _gort_boot(asked.env))
        if asked.as_json:
            _print_json(comparison)
        else:
            print_comparison(comparison)
    elif asked.as_json:
        from gort.xray.show.tojson import to_data

        _print_json(to_data(report))
    elif asked.inits or asked.inits_limit is not None:
        from gort.xray.show.listing import print_inits
        from gort.xray.show.paper import Paper
        from gort.xray.show.report import summary

        if report.boot is None:
            raise XrayError(f"--inits: {report.why_no_boot}")
        print_inits(report.boot, Paper(), asked.full)
        summary(report.boot, Paper())
    elif asked.html_path is None:
        from gort.xray.show.paper import Paper
        from gort.xray.show.report import print_report

        print_report(report, Paper(), disasm=asked.disasm, full=asked.full)


def _print_listing(asked: Asked, report: Report) -> None:
    from gort.xray.show import listing
    from gort.xray.show.paper import Paper

    static = report.static
    if asked.as_json:
        data: dict[str, Any] = {}
        if asked.functions:
            data["functions"] = listing.functions_data(static)
        if asked.packages:
            data["packages"] = listing.packages_data(static)
        if asked.strings:
            data["strings"] = listing.strings_data(static)
        if asked.types:
            data["types"] = listing.types_data(static)
        _print_json(data)
        return
    if asked.functions:
        listing.print_functions(static, Paper())
    if asked.packages:
        listing.print_packages(static, Paper())
    if asked.strings:
        listing.print_strings(static, Paper())
    if asked.types:
        listing.print_types(static, Paper(), asked.full)


def _print_diff(asked: Asked, report: Report, other: Report) -> None:
    from gort.xray.show.diff import compare, print_diff
    from gort.xray.show.paper import Paper

    found = compare(report, other)
    if asked.as_json:
        _print_json(found)
    else:
        print_diff(found, Paper())
