"""`gort serve MODULE:APP`: serves a WSGI or an ASGI application.

The work is gort.http's; here are its options.  docs/serve.md explains them.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import ssl


class Wrong(click.ClickException):
    """The application cannot be had."""

    exit_code = 2


def find(name: str, factory: bool) -> Any:
    """The application that MODULE:APP names.  Raises Wrong."""
    from gort.cli import _run

    module_name, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as e:
        if e.name is None or not (module_name == e.name or module_name.startswith(e.name + ".")):
            _run.say_traceback(e)
        raise Wrong(f"cannot import {module_name!r}: {e}") from None
    except Exception as e:
        _run.say_traceback(e)
        raise Wrong(f"{module_name!r} cannot be imported") from None
    if not path:
        path = next((n for n in ("application", "app") if hasattr(found, n)), "")
        if not path:
            raise Wrong(f"{module_name!r} has neither `application` nor `app`: write {module_name}:NAME")
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise Wrong(f"{module_name!r} has no {path!r}") from None
    if factory:
        found = found()
    if not callable(found):
        raise Wrong(f"{name} is no application, but {type(found).__name__}")
    return found


def context(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """What TLS needs; None without a certificate.  Raises Wrong."""
    if cert is None:
        return None
    import ssl
    from importlib.util import find_spec

    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        made.load_cert_chain(cert, key)
    except OSError as e:
        raise Wrong(f"certificate {cert}: {e}") from None
    made.set_alpn_protocols(["h2", "http/1.1"] if find_spec("h2") is not None else ["http/1.1"])
    return made


@click.command(context_settings={"show_default": True})
@click.argument("app", metavar="MODULE:APP")
@click.option("-b", "--bind", multiple=True, default=("127.0.0.1:8000",), metavar="ADDRESS",
              help="HOST:PORT, unix:PATH, or systemd for inherited sockets; may be given several times.")  # fmt: skip
@click.option("--interface", type=click.Choice(["auto", "wsgi", "asgi"]), default="auto", help="What APP is.")
@click.option("--factory", is_flag=True, help="APP is a function that makes the application.")
@click.option("--app-dir", default=".", metavar="DIR", help="Where MODULE is looked for first.")
@click.option("--loop", type=click.Choice(["asyncio", "native"]), default="asyncio",
              help="Where an ASGI application runs: in event loops, or in goroutines.")  # fmt: skip
@click.option("--loops", type=click.IntRange(min=1), default=1, help="How many event loops.")
@click.option("--procs", type=click.IntRange(min=1), default=None, help="Number of Ps (default: GOMAXPROCS).")
@click.option("--certfile", type=click.Path(exists=True), help="The certificate, for https.")
@click.option("--keyfile", type=click.Path(exists=True), help="Its key, if it is in a file of its own.")
@click.option("--access-log", type=click.Choice(["off", "common", "json"]), default="off", help="A line a request.")
@click.option("--proxy", multiple=True, metavar="ADDRESS",
              help="A proxy whose X-Forwarded-For is believed: an address, a network, unix, or *.")  # fmt: skip
@click.option("--metrics", default="", metavar="PATH", help="Give the metrics for Prometheus at PATH.")
@click.option("--root-path", default="", metavar="PATH", help="The path under which the application is reached.")
@click.option("--parser", type=click.Choice(["auto", "httptools", "h11"]), default="auto", help="What parses HTTP/1.1.")
@click.option("--backlog", type=click.IntRange(min=1), default=2048, help="Connections that may wait to be accepted.")
@click.option("--socket-mode", "mode", default=None, metavar="MODE", help="Permissions of a Unix socket, such as 660.")
@click.option("--grace", type=float, default=30.0, help="Seconds for requests to end after SIGTERM.")
@click.option("--max-connections", type=click.IntRange(min=1), default=None, help="Open at a time; more wait.")
@click.option("--max-requests", type=click.IntRange(min=1), default=None, help="Served at a time; more get 503.")
@click.option("--max-body", type=click.IntRange(min=0), default=None, help="Bytes of a request's body; more get 413.")
@click.option("--max-head", type=click.IntRange(min=256), default=65536, help="Bytes of a request's headers.")
@click.option("--head-timeout", type=float, default=20.0, help="Seconds for a request's headers.")
@click.option("--body-timeout", type=float, default=30.0, help="Seconds without a byte of a request's body.")
@click.option("--idle-timeout", type=float, default=60.0, help="Seconds of a connection between two requests.")
@click.option("--write-timeout", type=float, default=30.0, help="Seconds in which the client takes nothing.")
@click.option("--min-rate", type=click.IntRange(min=0), default=240,
              help="Bytes a second of a body, or a response, after those times; 0: any.")  # fmt: skip
@click.option("--reload", is_flag=True, help="Start again when a file of Python changes: for development.")
def command(app: str, **given: Any) -> None:
    """Serve MODULE:APP, a WSGI or an ASGI application, until SIGTERM or Ctrl-C.

    A view that blocks holds up no other request. Without :APP the name is application or app."""
    if given.pop("reload"):
        from gort.cli import _reload

        sys.exit(_reload.supervise([a for a in sys.argv[1:] if a != "--reload"], given["app_dir"]))
    directory = os.path.abspath(given.pop("app_dir"))
    if directory not in sys.path:
        sys.path.insert(0, directory)
    served(find(app, given.pop("factory")), app, given)


def served(application: Any, name: str, given: dict[str, Any]) -> None:
    """Runs the server.  Ends the process with status 2 where it cannot."""
    from gort import http, run
    from gort.cli import _run

    form, mode = given.pop("access_log"), given.pop("mode")
    log = None
    if form != "off":
        from gort.http.access import AccessLog

        log = AccessLog(form)
    limits = http.Limits(
        head_bytes=given.pop("max_head"),
        body_bytes=given.pop("max_body"),
        head_s=given.pop("head_timeout"),
        body_s=given.pop("body_timeout"),
        idle_s=given.pop("idle_timeout"),
        write_s=given.pop("write_timeout"),
        rate=given.pop("min_rate") or None,
        connections=given.pop("max_connections"),
        requests=given.pop("max_requests"),
    )
    tls = context(given.pop("certfile"), given.pop("keyfile"))
    procs, bind = given.pop("procs"), given.pop("bind")

    def started(server: Any, listeners: list[Any]) -> None:
        at = ", ".join(url(ln, tls is not None) for ln in listeners)
        click.echo(f"gort: serving {name} at {at} (process {os.getpid()})", err=True)

    async def main() -> None:
        await http.serve(
            application,
            bind,
            tls=tls,
            backlog=given.pop("backlog"),
            mode=int(mode, 8) if mode else None,
            started=started,
            limits=limits,
            access_log=log,
            proxies=given.pop("proxy"),
            grace_s=given.pop("grace"),
            **given,
        )

    try:
        run(main, procs=procs)
    except (OSError, ValueError, ImportError) as e:
        raise Wrong(str(e)) from None
    except RuntimeError as e:
        _run.say_traceback(e)
        sys.exit(2)


def url(ln: Any, secure: bool) -> str:
    """Where a listener can be reached."""
    addr = ln.addr
    if addr.network == "unix":
        return f"unix:{addr.host}"
    return f"{'https' if secure else 'http'}://{addr}"
