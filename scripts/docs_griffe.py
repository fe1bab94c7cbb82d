"""What the API reference shows: an extension of griffe, which reads the sources for mkdocstrings (mkdocs.yml).

Public are the names in the `__all__` of a public module, and of their classes the methods and properties for users. This
file says which those are; tests/test_docstrings.py asks it too. The sources are read and not run, so it does not matter
which core is there. Where a hot module has a stub, the types come from it and the docstrings from the module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).resolve().parent.parent
MODULES = [
    *("gort", "gort.sync", "gort.context", "gort.signal", "gort.net", "gort.bufio", "gort.os", "gort.exec"),
    *("gort.http", "gort.cluster", "gort.runtime", "gort.testing", "gort.aio"),
    *("gort.debug", "gort.trace", "gort.metrics", "gort.notebook"),
]
# Methods without an underscore that only gort's own files call: of descriptors, of a group's members, of a server.
INTERNAL = {
    *("accept_op", "ask", "call_op", "describe", "duplicate", "held", "pop", "push", "readable", "refuses_reads"),
    *("retry_reads", "retry_writes", "set_lsock", "skip", "take_until"),
    *("abandoned", "finished"),
    *("finish_writing", "handle", "refused", "report"),
    *("abandon", "lost", "over", "Call.send"),
}


def is_public(member: Any) -> bool:
    """Whether a member of a public class is for users."""
    if member.name.startswith("_") or {member.name, f"{member.parent.name}.{member.name}"} & INTERNAL:
        return False
    if member.is_function:
        return member.returns is not None  # a hot module's method that its stub does not name has no types
    return bool(member.has_docstring)


def load(package: str = "gort") -> Any:
    """The package, as griffe reads it from the sources."""
    loader = griffe.GriffeLoader(search_paths=[ROOT / "src"], allow_inspection=False)
    module = loader.load(package)
    loader.resolve_aliases(implicit=True, external=False)
    return module


def exported(module: Any) -> list[tuple[str, Any]]:
    """The functions and classes of a public module: name, object."""
    found = []
    for name in sorted(str(n) for n in module.exports or ()):
        if name.startswith("_") or name not in module.members:
            continue
        value = module.members[name]
        try:
            value = value.final_target if value.is_alias else value
        except (griffe.AliasResolutionError, griffe.CyclicAliasError):
            continue  # the standard library's
        if value.is_module and name in value.members:  # gort.net.dial is a file, and the function in it
            value = value.members[name]
        if value.is_class or value.is_function:
            found.append((name, value))
    return found


def members(cls: Any) -> list[tuple[str, Any]]:
    """The methods and properties of a class that are for users, those of its bases too."""
    return [(name, member) for name, member in cls.all_members.items() if is_public(member)]


class Public(griffe.Extension):
    """Takes out of each class what is not for users."""

    def on_package(self, *, pkg: Any, loader: Any, **kwargs: Any) -> None:
        seen: set[str] = set()
        for name in MODULES[1:]:
            prune(pkg[name.removeprefix("gort.")], seen)
        prune(pkg, seen)


def prune(module: Any, seen: set[str]) -> None:
    """Takes out of the public classes of a module, and out of their bases, what is not for users."""
    for _, value in exported(module):
        if value.is_class:
            for cls in (value, *value.mro()):
                if cls.path not in seen and cls.path.startswith("gort."):
                    seen.add(cls.path)
                    for member in list(cls.members.values()):
                        if member.name != "__init__" and not is_public(member):
                            del cls.members[member.name]
