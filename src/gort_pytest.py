"""gort's pytest plugin, the part that every pytest loads: options, the mark, and the decision whether a test is gort's.

A module of its own beside the package, because pytest imports a plugin when it starts.  Most runs of pytest have no test
that is gort's: they must not import gort, and a test suite of gort may want to set GODEBUG first.  gort/testing/plugin.py
has the rest, and is imported with the first test that is gort's.

A test is gort's if it has the mark: `@pytest.mark.gort`, or `pytestmark = pytest.mark.gort` for all of a module; or if
it is an `async def` that no other plugin's mark claims, where the ini file says `gort_mode = auto`.  A plain function
with the mark may have async fixtures.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Generator
from typing import Any

import pytest

OTHERS = ("asyncio", "anyio", "trio", "twisted", "tornado")  # marks of other plugins
TEXT = (
    "gort(timeout=None, procs=None, leaks=False, seed=None, virtual=False): run this async test on gort. timeout: the "
    "seconds that it may take; procs: the number of Ps; leaks: goroutines may be left; seed: of the scheduler's random "
    "choices; virtual: in virtual time, as gort.testing.run does"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, and the settings of the ini file."""
    parser.addini("gort_mode", "strict: tests with the mark gort are gort's; auto: every async test", default="strict")
    parser.addini("gort_timeout", "seconds for each test of gort's that has no timeout of its own; 0: any", default="0")
    group = parser.getgroup("gort")
    group.addoption(
        "--gort-explore",
        type=int,
        metavar="N",
        help="run each test of gort's in virtual time under N orders of its goroutines (gort.testing.explore)",
    )
    group.addoption("--gort-replay", metavar="TOKEN", help="run the selected test in the order that the token tells")


def pytest_configure(config: pytest.Config) -> None:
    """The mark."""
    config.addinivalue_line("markers", TEXT)
    mode = config.getini("gort_mode")
    if mode not in ("strict", "auto"):
        raise pytest.UsageError(f"gort_mode is strict or auto, not {mode!r}")


def is_async(fn: Any) -> bool:
    """True for an `async def`, and for a partial or a method of one."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.iscoroutinefunction(fn)


def is_ours(item: pytest.Item) -> bool:
    """True for a test that gort runs."""
    if not isinstance(item, pytest.Function):
        return False
    if item.get_closest_marker("gort") is not None:
        return True
    if item.config.getini("gort_mode") != "auto" or not is_async(item.obj):
        return False
    return "anyio_backend" not in item.fixturenames and not any(item.get_closest_marker(other) for other in OTHERS)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Takes back a test with the mark gort that another plugin has made one of its own (pytest-asyncio's mode auto)."""
    found = yield
    if isinstance(found, list):
        return [taken_back(node) for node in found]
    return taken_back(found)


def taken_back(node: Any) -> Any:
    """A plain pytest.Function in the place of a subclass's, if it has the mark gort; else the same."""
    if not isinstance(node, pytest.Function) or type(node) is pytest.Function or not node.get_closest_marker("gort"):
        return node
    return pytest.Function.from_parent(
        node.parent,
        name=node.name,
        callspec=getattr(node, "callspec", None),
        callobj=node.obj,
        fixtureinfo=node._fixtureinfo,
        originalname=node.originalname,
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Loads the rest of the plugin if a test is gort's."""
    ours = [item for item in items if is_ours(item)]
    if config.pluginmanager.has_plugin("gort-tests") or not ours:
        return
    from gort.testing import plugin

    for item in ours:
        plugin.options_of(item)  # raises UsageError for a wrong mark
    config.pluginmanager.register(plugin.Plugin(config), "gort-tests")
