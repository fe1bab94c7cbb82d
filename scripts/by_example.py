"""Writes docs/by-example/: short programs, each beside its twin in Go, with what it prints.

    python scripts/by_example.py           runs every program on gort and writes the pages
    python scripts/by_example.py --check   writes nothing; status 1 if a page is not what it would write

The programs are in examples/by_example/, NAME.py and NAME.go. Their order and the pages are PAGES, below. The text above
a program is its docstring. Whether the twins print the same is not asked here: tests/test_by_example.py runs both.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "examples" / "by_example"
DOCS = ROOT / "docs" / "by-example"
MADE_BY = "<!-- scripts/by_example.py writes this page from examples/by_example/ -->\n"

# The page's file, its title, and its programs.
PAGES: list[tuple[str, str, list[str]]] = [
    ("goroutines", "Goroutines", ["hello", "goroutines", "blocking", "plain_functions", "order"]),
    (
        "channels",
        "Channels",
        [
            *("channels", "buffering", "synchronization", "directions", "closing", "range"),
            *("request_reply", "pipeline", "prime_sieve", "many_values"),
        ],
    ),
    (
        "select",
        "Select",
        ["select_cases", "select_names", "timeouts", "non_blocking", "send_or_quit", "nil_channels", "first_answer"],
    ),
    ("time", "Time", ["timers", "tickers", "after_func", "rate_limiting"]),
    ("workers", "Many at a time", ["worker_pool", "wait_group", "groups", "group_errors", "group_limit", "fan_in"]),
    (
        "state",
        "Shared state",
        ["mutexes", "counters", "rwmutex", "stateful_goroutine", "once", "conditions", "semaphores", "pool"],
    ),
    ("contexts", "Contexts and cancellation", ["context", "context_timeout", "context_values", "cancellation"]),
    ("errors", "Errors and the end", ["errors", "recover", "defer", "panic", "deadlock", "exit"]),
    (
        "system",
        "Signals, programs, files",
        ["signals", "graceful_end", "processes", "child_pipes", "line_filter", "files"],
    ),
    ("network", "Connections", ["tcp_server", "scanner", "deadlines", "udp"]),
]
NAMES = [name for _, _, names in PAGES for name in names]
INPUT = {"line_filter": "park\nhand off\n"}  # what the program reads from its standard input
STATUS = {"panic": 2, "deadlock": 2, "exit": 3}  # with which it ends, where that is not 0


def title(name: str) -> str:
    """The heading of a program."""
    special = {"rwmutex": "RWMutex", "tcp_server": "TCP server", "udp": "UDP", "select_cases": "Select"}
    return special.get(name, name.replace("_", " ").capitalize())


def run(name: str) -> str:
    """What the program prints on gort. Fails where it does not end with its status."""
    path = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "gort", "run", str(PROGRAMS / f"{name}.py")],
        input=INPUT.get(name, ""),
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == STATUS.get(name, 0), f"{name}: status {done.returncode}\n{done.stderr}"
    return done.stdout


def section(name: str, output: str) -> str:
    """A program on its page."""
    source = (PROGRAMS / f"{name}.py").read_text()
    doc = ast.get_docstring(ast.parse(source))
    assert doc, f"{name}.py: what does it show?"
    code = source.partition('"""\n')[2]  # behind the docstring
    go = (PROGRAMS / f"{name}.go").read_text()
    given = f", when it reads `{INPUT[name].strip()}`".replace("\n", "`, `") if name in INPUT else ""
    status = f", and ends with status {STATUS[name]}" if name in STATUS else ""
    return "\n".join(
        [
            f"## {title(name)}\n",
            f"{doc.strip()}\n",
            '<div class="grid" markdown>\n',
            f'```python title="{name}.py"\n{code.strip()}\n```\n',
            f'```go title="{name}.go"\n{go.strip()}\n```\n',
            "</div>\n",
            f"It prints{given}{status}:\n",
            f"```text\n{output.rstrip()}\n```\n",
        ]
    )


def page(heading: str, names: list[str], outputs: dict[str, str]) -> str:
    """A page of the docs, from what its programs print."""
    return f"{MADE_BY}# {heading}\n\n" + "\n".join(section(name, outputs[name]) for name in names)


def index() -> str:
    """The page that leads to the others."""
    lines = [
        f"{MADE_BY}# gort by example\n",
        f"{len(NAMES)} short programs, each beside its twin in Go. Both print the same: a test runs each pair.",
        "They are files in [examples/by_example](../../examples/by_example), so you can run them:\n",
        "    gort run examples/by_example/hello.py",
        "    go run examples/by_example/hello.go\n",
    ]
    for file, heading, names in PAGES:
        links = ", ".join(
            f"[{title(name).lower()}]({file}.md#{title(name).lower().replace(' ', '-')})" for name in names
        )
        lines.append(f"- [{heading}]({file}.md): {links}")
    return "\n".join(lines) + "\n"


def outputs_of(text: str, names: list[str]) -> dict[str, str]:
    """What a page says that its programs print."""
    return dict(
        zip(names, (found + "\n" for found in re.findall(r"^```text\n(.*?)\n```$", text, re.M | re.S)), strict=True)
    )


def pages(outputs: dict[str, str]) -> dict[Path, str]:
    """All pages: the file and its text."""
    made = {DOCS / f"{file}.md": page(heading, names, outputs) for file, heading, names in PAGES}
    return {DOCS / "index.md": index(), **made}


def main() -> int:
    made = pages({name: run(name) for name in NAMES})
    if "--check" in sys.argv[1:]:
        stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what scripts/by_example.py writes", file=sys.stderr)
        return 1 if stale else 0
    DOCS.mkdir(exist_ok=True)
    for path, text in made.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
