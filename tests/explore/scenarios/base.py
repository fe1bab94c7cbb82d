"""What a scenario is, and the list of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gort._runtime.watch import sysmon

MS = 0.001


@dataclass(frozen=True)
class Scenario:
    """body runs under each schedule; knobs are (module, name, value) to set meanwhile."""

    name: str
    body: Callable[[], None]
    knobs: tuple[tuple[Any, str, Any], ...]


SCENARIOS: dict[str, Scenario] = {}

NO_SYSMON = ((sysmon, "start", lambda s: None),)
WITH_SYSMON: tuple[tuple[Any, str, Any], ...] = ()
# Three rounds of sysmon's, not ten, make a goroutine that computes lose its P: fewer deviations reach that.
QUICK_SYSMON = ((sysmon, "SLICE_NS", 3_000_000),)


def scenario(knobs: tuple[tuple[Any, str, Any], ...] = NO_SYSMON) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def add(body: Callable[[], None]) -> Callable[[], None]:
        SCENARIOS[body.__name__] = Scenario(body.__name__, body, knobs)
        return body

    return add


def equal(found: object, expected: object) -> None:
    assert found == expected, f"{found!r}, expected {expected!r}"
