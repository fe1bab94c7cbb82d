"""What runs on an event loop in the rows loop-uvicorn, loop-fastapi and loop-aiohttp: servers that people use, the same
for each loop.  Not a program (asyncio_.py has these, and with it each peer that runs its programs).

Each answers a GET with "Hello, world!", has no access log and no lifespan, and ends with standard input.  A library that
is not installed is named in the last line of stderr.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any

from _common import fail

HELLO = b"Hello, world!"
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(HELLO))]


def needed(*names: str) -> list[Any]:
    """The modules of these names; ends the program if one is not installed."""
    try:
        return [import_module(name) for name in names]
    except ImportError as error:
        fail(f"{error} (pip install {' '.join(names)})")


def listening() -> socket.socket:
    """The socket of the server, whose address is printed."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(":".join(map(str, sock.getsockname()[:2])), flush=True)
    return sock


async def until_eof() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application of loop-uvicorn."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": HELLO})


async def serve_asgi(app: Any) -> None:
    """uvicorn with httptools, on the loop that runs."""
    uvicorn, _ = needed("uvicorn", "httptools")
    config = uvicorn.Config(
        app, http="httptools", ws="none", lifespan="off", access_log=False, log_level="warning", loop="none"
    )
    server = uvicorn.Server(config)

    async def stop() -> None:
        await until_eof()
        server.should_exit = server.force_exit = True

    stopping = asyncio.create_task(stop())
    await server.serve(sockets=[listening()])
    await stopping


async def serve_fastapi() -> None:
    """A FastAPI application with an async view, in uvicorn."""
    (fastapi,) = needed("fastapi")
    app = fastapi.FastAPI()

    async def view() -> dict[str, str]:
        return {"message": "Hello, world!"}

    app.get("/")(view)
    await serve_asgi(app)


async def serve_aiohttp() -> None:
    """aiohttp's own server."""
    (web,) = needed("aiohttp.web")

    async def view(request: Any) -> Any:
        return web.Response(body=HELLO, content_type="text/plain")

    app = web.Application()
    app.router.add_get("/", view)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.SockSite(runner, listening(), shutdown_timeout=0).start()
    await until_eof()
    await runner.cleanup()


SERVERS: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
    "uvicorn": lambda: serve_asgi(hello),
    "fastapi": serve_fastapi,
    "aiohttp": serve_aiohttp,
}
