"""Hooks of mkdocs.yml: the site's navigation, and the pages that are made of what lies outside docs/.

README.md is the first page. HACKING.md and the other texts beside it, LICENSE and the programs of examples/ are pages
too, so that every link of the documentation leads to a page of the site and is checked. The API reference has a page for
each public module, which mkdocstrings fills from the docstrings, and one for the commands, from their own help. Nothing
is written into docs/.
"""

from __future__ import annotations

import ast
import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import docs_griffe  # noqa: E402  (a neighbour)
from by_example import PAGES  # noqa: E402

# What lies outside docs/, and its page.
BESIDE = {file.name: file.name.lower() for file in sorted(ROOT.glob("*.md")) if file.name != "README.md"}
OUTSIDE = {
    "README.md": "index.md",
    "LICENSE": "license.md",
    "examples": "examples.md",
    "examples/by_example": "examples.md",
    **BESIDE,
}
FIRST = ["tutorial.md", "guide-asyncio.md", "guide-go.md"]
BELOW = ["how-it-works.md", "pictures.md", "cancellation-cases.md", "benchmarks.md", "xray.md"]  # how it works


def nav() -> list[Any]:
    """The navigation. A page of docs/ that is not named here is a guide."""
    there = sorted(p.name for p in (ROOT / "docs").glob("*.md"))
    trouble = sorted(p.name for p in (ROOT / "docs" / "trouble").glob("*.md") if p.name != "index.md")
    guides = [name for name in there if name not in FIRST and name not in BELOW]
    return [
        {"gort": "index.md"},
        {"Tutorial": "tutorial.md"},
        {"Guides": [*FIRST[1:], *guides]},
        {
            "By example": [
                "by-example/index.md",
                *({heading: f"by-example/{file}.md"} for file, heading, _ in PAGES),
                "examples.md",
            ]
        },
        {"Programs in trouble": ["trouble/index.md", *(f"trouble/{name}" for name in trouble)]},
        {
            "Reference": [
                "reference/index.md",
                "reference/commands.md",
                *(f"reference/{name}.md" for name in docs_griffe.MODULES),
            ]
        },
        {"How it works": [*(name for name in BELOW if name in there), *BESIDE.values(), "license.md"]},
    ]


def examples() -> str:
    """A page with the larger examples: what each says of itself, and its text."""
    parts = ["# Larger examples\n", "Run them with `gort run examples/NAME.py`.\n"]
    for file in sorted((ROOT / "examples").glob("*.py")):
        source = file.read_text()
        doc = ast.get_docstring(ast.parse(source)) or ""
        said = doc.partition("\n\n")[0]
        parts += [f"## {file.name}\n", f"{said}\n", f"```python\n{source.rstrip()}\n```\n"]
    return "\n".join(parts)


def reference() -> dict[str, str]:
    """The pages of the API reference: each names what its module exports."""
    package = docs_griffe.load()
    made, rows = {}, []
    for name in docs_griffe.MODULES:
        module = package if name == "gort" else package[name.removeprefix("gort.")]
        names = [n for n, _ in docs_griffe.exported(module)]
        shadowed = [n for n in names if module.members[n].is_module]
        shown = [n for n in names if n not in shadowed]
        text = [f"# {name}\n", f"::: {name}", "    options:", f"      members: [{', '.join(shown)}]\n"]
        for n in shadowed:
            text += [
                f"::: {name}.{n}.{n}",
                "    options:",
                f"      heading: {n}",
                f"      toc_label: {n}",
                "      heading_level: 3",
            ]
            text += ["      show_root_heading: true", "      show_root_toc_entry: true\n"]
        made[f"reference/{name}.md"] = "\n".join(text)
        rows.append(f"- [{name}]({name}.md): {', '.join(f'`{n}`' for n in names)}")
    made["reference/index.md"] = (
        "# API reference\n\nMade from the docstrings. [The commands](commands.md) have a page of their own.\n\n"
        + "\n".join(rows)
        + "\n"
    )
    return made


def commands() -> str:
    """The page of the commands: what each says of itself."""
    env = os.environ | {"GORT_PURE": "1", "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "80"}

    def told(*words: str) -> str:
        full = [sys.executable, "-m", "gort", *words, "--help"]
        return subprocess.run(full, env=env, capture_output=True, text=True, check=True).stdout.rstrip()

    every = told()
    names = re.findall(r"^  (\w+)  ", every.partition("Commands:")[2], re.M)
    parts = ["# Commands\n", f"```text\n{every}\n```\n"]
    parts += [f"## gort {name}\n\n```text\n{told(name)}\n```\n" for name in names]
    return "\n".join(parts)


def relinked(markdown: str, source: str, page: str) -> str:
    """The text of `source` (a path in the repository) with its links pointing to pages of the site, seen from `page`."""

    def replace(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        inside = OUTSIDE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        example = re.fullmatch(r"examples/(\w+)\.py", path)
        if example:  # its place on the page with all of them
            inside, anchor = OUTSIDE["examples"], f"#{example[1]}py"
        if inside is None:
            return match[0]  # mkdocs will say that it leads nowhere
        return f"]({posixpath.relpath(inside, posixpath.dirname(page) or '.')}{anchor})"

    fences = r"(^```.*?^```$|`[^`\n]*`)"  # code is left alone
    parts = re.split(fences, markdown, flags=re.M | re.S)
    parts[::2] = [re.sub(r"\]\(([^)#\s]+)(#[^)]*)?\)", replace, part) for part in parts[::2]]
    return "".join(parts)


def on_config(config: Any) -> Any:
    config.nav = nav()
    return config


def on_files(files: Any, *, config: Any) -> Any:
    from mkdocs.structure.files import File

    made = {page: (ROOT / name).read_text() for name, page in OUTSIDE.items() if (ROOT / name).is_file()}
    made["license.md"] = "# License\n\n" + made["license.md"]
    made["examples.md"] = examples()
    made["reference/commands.md"] = commands()
    for page, text in (made | reference()).items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    uri = page.file.src_uri
    if uri.startswith("by-example/") and not uri.endswith("index.md"):
        page.meta["hide"] = ["toc"]  # two programs stand beside each other, and need its room
    source = next((name for name, made in OUTSIDE.items() if made == uri), f"docs/{uri}")
    return relinked(markdown, source, uri)
