"""The hot part of gort.http's server: what every request passes through.  gort.http alone loads it."""

from gort._start.cython import lent as _lent

with _lent():
    from gort._runtime.web import frames as _frames  # noqa: F401
    from gort._runtime.web import line as _line  # noqa: F401
    from gort._runtime.web import request as _request  # noqa: F401
    from gort._runtime.web import response as _response  # noqa: F401
    from gort._runtime.web import view as _view  # noqa: F401
