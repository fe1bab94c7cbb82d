"""`class Handle(Generic[T])` without typing, which takes longer to import than gort: what runs in place of typing's own.

A class built on it can be written with a type in brackets, `Handle[int]`, as the built-in containers can.
"""

from types import GenericAlias

T = object  # stands for the type variable, which only a type checker has a use for


class Generic:
    """A base for classes that take a type in brackets."""

    __class_getitem__ = classmethod(GenericAlias)  # type: ignore[var-annotated]
