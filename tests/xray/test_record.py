"""Records: classes of named values, as far as gort.xray needs them."""

from __future__ import annotations

import pytest

from gort.xray.record import field, record


@record
class Item:
    name: str
    size: int = 1
    parts: list[str] = field(default_factory=list)
    seen: bool = False

    def __post_init__(self) -> None:
        self.seen = True


def test_fields_by_place_by_name_and_by_default() -> None:
    a, b = Item("a"), Item("b", size=2, parts=["x"])
    assert (a.name, a.size, a.parts, a.seen) == ("a", 1, [], True)
    assert (b.name, b.size, b.parts) == ("b", 2, ["x"])
    assert repr(b) == "Item(name='b', size=2, parts=['x'], seen=True)"


def test_defaults_are_not_shared() -> None:
    a, b = Item("a"), Item("b")
    a.parts.append("x")
    assert b.parts == []


@pytest.mark.parametrize(
    ("args", "more", "says"),
    [
        ((), {}, "Item needs name"),
        (("a", 1, [], True, 5), {}, "Item takes name, size, parts, seen"),
        (("a",), {"colour": 1}, "Item takes name, size, parts, seen"),
        (("a",), {"name": "b"}, "name is given twice"),
    ],
)
def test_mistakes_are_named(args: tuple[object, ...], more: dict[str, object], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        Item(*args, **more)  # type: ignore[arg-type]
