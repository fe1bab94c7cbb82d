"""Classes that are a few named values, without `dataclasses`, so that `gort xray` starts quickly.

To import dataclasses, and to have it write the methods of twenty classes, takes 25 ms, an eighth of the way from the
command to runtime.main. `record` gives a class the one method that it needs, `__init__`, made from its annotations. A
type checker sees a dataclass (PEP 681).

Invariants: fields are the annotated names in the order of the class. A default that must not be shared is a
`field(default_factory=…)`. `__post_init__` is called where there is one. Records are compared and hashed by identity.

Rejected: NamedTuple, which needs typing (4 ms) and has fields that cannot be written. Methods written by hand: a class
of 21 fields then has 60 lines. Where thousands of objects are made, though, `__init__` is written by hand, because it is
faster (`Func`, `Call`, `Entry`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")


class _Factory:
    """A default that is made anew."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], Any]) -> Any:
    """Have the default made anew for every record."""
    return _Factory(default_factory)


def _make_init(names: tuple[str, ...], shared: dict[str, Any], made: dict[str, Any], post: bool) -> Callable[..., None]:
    known = frozenset(names)

    def init(self: Any, *args: Any, **more: Any) -> None:
        if len(args) > len(names) or not known.issuperset(more):
            raise TypeError(f"{type(self).__name__} takes {', '.join(names)}")
        for name, value in zip(names, args, strict=False):
            if name in more:
                raise TypeError(f"{type(self).__name__}: {name} is given twice")
            setattr(self, name, value)
        for name in names[len(args) :]:
            if name in more:
                setattr(self, name, more[name])
            elif name in made:
                setattr(self, name, made[name]())
            elif name in shared:
                setattr(self, name, shared[name])
            else:
                raise TypeError(f"{type(self).__name__} needs {name}")
        if post:
            self.__post_init__()

    return init


def _repr(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items() if k[0] != '_')})"


def _record(cls: type[T]) -> type[T]:
    names = tuple(cls.__annotations__)
    shared, made = {}, {}
    for name in names:
        if name in cls.__dict__:
            value = cls.__dict__[name]
            if isinstance(value, _Factory):
                made[name] = value.make
                delattr(cls, name)
            else:
                shared[name] = value
    setattr(cls, "__init__", _make_init(names, shared, made, hasattr(cls, "__post_init__")))  # noqa: B010
    setattr(cls, "__repr__", _repr)  # noqa: B010
    return cls


if TYPE_CHECKING:

    @dataclass_transform(eq_default=False, field_specifiers=(field,))
    def record(cls: type[T]) -> type[T]:
        """Make a class of named values."""
        return cls

    @dataclass_transform(eq_default=False, frozen_default=True, field_specifiers=(field,))
    def frozen(cls: type[T]) -> type[T]:
        """Make a record whose fields are never written; the type checker sees to it, nothing does at run time."""
        return cls

else:
    record = frozen = _record
