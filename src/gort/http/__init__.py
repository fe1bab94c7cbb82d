"""gort.http: HTTP on gort.net.  A server in which a view that blocks holds up nobody else, and a small client.

    response = await gort.http.get("https://example.org/")
    await gort.http.serve(app, "127.0.0.1:8000")       # a WSGI or an ASGI application

This file only re-exports.  docs/serve.md is the server's guide, docs/http.md the client's.  Each name is imported
at its first use: who only fetches a page does not load the server.
"""

from typing import TYPE_CHECKING, Any

from gort._runtime.core.public import adopt as _adopt
from gort._runtime.core.public import publish as _publish

__all__ = [
    "Client",
    "Headers",
    "Limits",
    "ProtocolError",
    "RequestError",
    "RequestTimeout",
    "Response",
    "Server",
    "StatusError",
    "Timeouts",
    "TooManyRedirects",
    "get",
    "post",
    "request",
    "serve",
]

if TYPE_CHECKING:
    from gort.http.client import Client, Response, get, post, request
    from gort.http.client_errors import (
        ProtocolError,
        RequestError,
        RequestTimeout,
        StatusError,
        Timeouts,
        TooManyRedirects,
    )
    from gort.http.client_request import Headers
    from gort.http.config import Limits
    from gort.http.server import Server
    from gort.http.serving import serve
else:
    # name -> the module that has it
    _HOMES = {
        **dict.fromkeys(("Client", "Response", "get", "post", "request"), "gort.http.client"),
        **dict.fromkeys(
            ("ProtocolError", "RequestError", "RequestTimeout", "StatusError", "Timeouts", "TooManyRedirects"),
            "gort.http.client_errors",
        ),
        "Headers": "gort.http.client_request",
        "Limits": "gort.http.config",
        "Server": "gort.http.server",
        "serve": "gort.http.serving",
    }

    def __getattr__(name: str) -> Any:
        """Imports the module that has the name, and enters the name here."""
        from importlib import import_module

        if name not in _HOMES:
            raise AttributeError(f"module 'gort.http' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        _adopt(value, __name__)
        return value


_publish(globals())
