"""gort: Go's scheduler for Python."""
import os as _os
if _os.environ.get("GORT_PURE"):
    from gort._loader import install as _install
    _install()
from gort._cython import lent as _lent
with _lent():
    from gort.runtime.runtime2 import G as _G
    from gort.runtime.op import gosched
    from gort.runtime.timers import sleep
    from gort.runtime.chan import Chan
    from gort.runtime.select import select
    from gort.runtime.timechan import Timer, Ticker, after, after_func
    from gort.runtime.main import run, go
from gort.runtime.errors import *
