"""gort.testing: tests of concurrent programs that need no sleeps and take no time.

    def test_timeout():
        async def main():
            with pytest.raises(TimeoutError):
                async with gort.timeout(3600):
                    await never.recv()
        gort.testing.run(main)

This file only re-exports.  docs/guide-testing.md is the guide.  Each name is imported at its first use, so that a test
pays only for the part of the kit that it uses.
"""

from typing import TYPE_CHECKING, Any

from gort._runtime.core.public import adopt as _adopt
from gort._runtime.core.public import publish as _publish

__all__ = [
    "DataRace",
    "Endless",
    "Explored",
    "Network",
    "Schedule",
    "ScheduleFailure",
    "explore",
    "pipe",
    "replay",
    "run",
    "schedules",
    "wait",
    "watch",
]

if TYPE_CHECKING:
    from gort.testing.bubble import run, wait
    from gort.testing.network import Network
    from gort.testing.races import DataRace, watch
    from gort.testing.schedule import Endless
    from gort.testing.search import Explored, Schedule, ScheduleFailure, explore, replay, schedules
    from gort.testing.wire import pipe
else:
    # name -> the module that has it
    _HOMES = {
        "DataRace": "gort.testing.races",
        "Endless": "gort.testing.schedule",
        "Network": "gort.testing.network",
        "pipe": "gort.testing.wire",
        "run": "gort.testing.bubble",
        "wait": "gort.testing.bubble",
        "watch": "gort.testing.races",
    }
    _HOMES |= dict.fromkeys(
        ("Explored", "Schedule", "ScheduleFailure", "explore", "replay", "schedules"), "gort.testing.search"
    )

    def __getattr__(name: str) -> Any:
        """Imports the module that has the name, and enters the name here."""
        from importlib import import_module

        if name not in _HOMES:
            raise AttributeError(f"module 'gort.testing' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        _adopt(value, __name__)
        return value


_publish(globals())
