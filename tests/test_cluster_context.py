"""What goes along with a goroutine of gort.cluster: the contextvars that the user lists, and the task of the trace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import clusterkit as kit
import gort
from gort import trace
from test_trace import needs_go, read_by_go


@needs_go
@pytest.mark.once
def test_a_task_goes_along_to_other_processes(tmp_path: Path) -> None:
    """There it is one of the same name: the trace of a node shows what was done for it."""
    file = tmp_path / "node.trace"

    async def main() -> None:
        async with kit.connect(1) as c:
            await c.go(kit.begin_trace, str(file))
            with trace.task("request"):
                h = c.go(kit.steps, "parse")
                assert await c.go(kit.steps_plainly, "plain") == "plain"
                with trace.task("inner"):
                    with pytest.raises(KeyError):
                        await c.go(kit.fails, "late")
                    with pytest.raises(TypeError):
                        await c.go(kit.add)
                    started = c.Chan(1)
                    cancelled = c.go(kit.hangs, started, c.Chan(1))
                    await started.recv()
                    cancelled.cancel()
                    with pytest.raises(gort.Cancelled):
                        await cancelled
                    await c.go(kit.steps, "deep")
            assert await h == "parse"
            assert await c.go(kit.steps, "alone") == "alone"
            await c.go(kit.end_trace)

    gort.run(main)
    text = read_by_go(file)
    begun = re.findall(r"TaskBegin Time=\d+ ID=(\d+) Parent=\d+ Type=\"(\w+)\"", text)
    assert sorted(name for _, name in begun) == ["inner"] * 4 + ["request"] * 2
    assert text.count("TaskEnd") == 6
    tasks = {region: task for task, region in re.findall(r"RegionBegin .*Task=(\d+) Type=\"(\w+)\"", text)}
    names = dict(begun)
    assert {region: names.get(task) for region, task in tasks.items()} == {
        "parse": "request", "plain": "request", "deep": "inner", "alone": None,
    }  # fmt: skip


def test_contextvars_go_on_from_node_to_node() -> None:
    """What is listed goes along, also where a node starts the goroutine; what is not stays."""

    async def main() -> None:
        async with kit.connect(2, context=["clusterkit:WHO"]) as c:
            kit.WHO.set("ann")
            kit.UNLISTED.set("here")
            assert await c.go(kit.who_there, on="n0") == ("ann", "nobody")
            assert await c.map(kit.who_of, [1, 2]) == ["ann", "ann"]
            async with c.Group() as g:
                h = g.go(kit.who)
                kit.WHO.set("bob")  # too late: it is as it was at the start
            assert h.result() == "ann"

    gort.run(main)
