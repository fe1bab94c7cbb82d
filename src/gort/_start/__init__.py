"""Code that runs when gort is imported and keeps that fast: modules loaded at first use, stand-ins for cython and
typing, the choice of the core and its check; and here, that no collection begins meanwhile."""

from __future__ import annotations

import gc
import sys


class settled:
    """`with settled():` around imports of modules that stay: no collection begins until its end, and then all objects
    that there are count as old.  Else Python's collector would look several times at what is never garbage."""

    def __enter__(self) -> None:
        self.collects = gc.isenabled()
        gc.disable()

    def __exit__(self, *exc: object) -> None:
        if self.collects:
            # Not where the program has frozen objects, which would be thawed; without the GIL objects have no age.
            if not gc.get_freeze_count() and "t" not in getattr(sys, "abiflags", ""):
                gc.freeze()
                gc.unfreeze()
            gc.enable()
