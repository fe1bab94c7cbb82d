"""The docstring of every public name says what it is, in which units, which errors it raises, and which of Go's names it
follows.

Which names are public, scripts/docs_griffe.py says; the site's API reference shows the same. The sources are read and not
run.
What an error is raised for is not asked, nor those that a function it calls may raise.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from support import ROOT

pytestmark = pytest.mark.lint

# A parameter, and what its docstring must say of it. A parameter called `seconds` says it itself.
UNITS = {
    "timeout": "second",
    "wait_delay": "second",
    "cleanup": "second",
    "capacity": "values|holds",
    "limit": "byte|at a time|at most",
    "size": "byte",
    "n": "byte|permit|Ps|place|thread|number",
    "k": "permit",
    "offset": "byte",
    "buffer": "buffer",
    "backlog": "connection",
    "mode": "mode|permission|bits",
}
# Names with a counterpart in Go -> its name there, or what else to look for: another of its names, its file.
GO = {
    "gort.Chan": "chan.go",
    "gort.Ticker": "time.Ticker",
    "gort.Timer": "time.Timer",
    "gort.after": "time.After",
    "gort.after_func": "time.AfterFunc",
    "gort.blocking": "entersyscall",
    "gort.go": "go statement",
    "gort.gosched": "runtime.Gosched|Gosched",
    "gort.run": "proc.go",
    "gort.select": "select.go",
    "gort.sleep": "time.Sleep",
    "gort.sync.Cond": "sync.Cond",
    "gort.sync.Mutex": "sync.Mutex",
    "gort.sync.Once": "sync.Once",
    "gort.sync.Pool": "sync.Pool",
    "gort.sync.RWMutex": "sync.RWMutex",
    "gort.sync.Semaphore": "semaphore.Weighted",
    "gort.sync.WaitGroup": "sync.WaitGroup",
    "gort.sync.WaitGroup.go": "WaitGroup.Go|Go 1.25",
    "gort.Group": "errgroup",
    "gort.Panic": "panic",
    "gort.Deadlock": "checkdead|all goroutines are asleep",
    "gort.context.Context": "context.Context",
    "gort.context.Canceled": "context.Canceled",
    "gort.context.DeadlineExceeded": "context.DeadlineExceeded",
    "gort.context.after_func": "context.AfterFunc",
    "gort.context.background": "context.Background",
    "gort.context.cause": "context.Cause",
    "gort.context.todo": "context.TODO",
    "gort.context.with_cancel": "context.WithCancel",
    "gort.context.with_cancel_cause": "context.WithCancelCause",
    "gort.context.with_deadline": "context.WithDeadline",
    "gort.context.with_timeout": "context.WithTimeout",
    "gort.context.with_value": "context.WithValue",
    "gort.context.without_cancel": "context.WithoutCancel",
    "gort.signal.ignore": "signal.Ignore",
    "gort.signal.ignored": "signal.Ignored",
    "gort.signal.notify": "signal.Notify",
    "gort.signal.notify_context": "signal.NotifyContext",
    "gort.signal.reset": "signal.Reset",
    "gort.signal.stop": "signal.Stop",
    "gort.net.Closed": "net.ErrClosed",
    "gort.net.Conn": "net.Conn",
    "gort.net.DeadlineExceeded": "os.ErrDeadlineExceeded",
    "gort.net.Dialer": "net.Dialer",
    "gort.net.Listener": "net.Listener",
    "gort.net.PacketConn": "net.PacketConn",
    "gort.net.TLSConn": "tls.Conn",
    "gort.net.dial": "net.Dial",
    "gort.net.dial_tls": "tls.Dial",
    "gort.net.join_host_port": "net.JoinHostPort",
    "gort.net.listen": "net.Listen",
    "gort.net.listen_packet": "net.ListenPacket",
    "gort.net.listen_tls": "tls.Listen",
    "gort.net.split_host_port": "net.SplitHostPort",
    "gort.net.tls_client": "tls.Client",
    "gort.net.tls_server": "tls.Server",
    "gort.bufio.IncompleteRead": "io.ErrUnexpectedEOF",
    "gort.bufio.LimitExceeded": "bufio.ErrTooLong",
    "gort.bufio.Reader": "bufio.Reader",
    "gort.bufio.Scanner": "bufio.Scanner",
    "gort.bufio.Writer": "bufio.Writer",
    "gort.bufio.scan_bytes": "bufio.ScanBytes",
    "gort.bufio.scan_lines": "bufio.ScanLines",
    "gort.bufio.scan_runes": "bufio.ScanRunes",
    "gort.bufio.scan_words": "bufio.ScanWords",
    "gort.os.File": "os.File",
    "gort.os.open": "os.OpenFile|os.Open",
    "gort.os.read_file": "os.ReadFile",
    "gort.os.walk": "filepath.WalkDir",
    "gort.os.write_file": "os.WriteFile",
    "gort.exec.Cmd": "exec.Cmd",
    "gort.http.Client": "http.Client",
    "gort.http.Response": "http.Response",
    "gort.http.Server": "http.Server",
    "gort.http.get": "http.Get",
    "gort.http.post": "http.Post",
    "gort.exec.ExitError": "exec.ExitError",
    "gort.exec.WaitDelayExceeded": "exec.ErrWaitDelay",
    "gort.exec.output": "Cmd.Output",
    "gort.exec.run": "Cmd.Run",
    "gort.exec.start": "Cmd.Start",
    "gort.runtime.goexit": "runtime.Goexit",
    "gort.runtime.gomaxprocs": "runtime.GOMAXPROCS",
    "gort.runtime.lock_os_thread": "runtime.LockOSThread",
    "gort.runtime.num_cpu": "runtime.NumCPU",
    "gort.runtime.num_goroutine": "runtime.NumGoroutine",
    "gort.runtime.set_max_threads": "debug.SetMaxThreads",
    "gort.runtime.stack": "runtime.Stack",
    "gort.runtime.unlock_os_thread": "runtime.UnlockOSThread",
    "gort.testing.run": "synctest.Test",
    "gort.testing.wait": "synctest.Wait",
    "gort.testing.pipe": "net.Pipe",
    "gort.debug.start_cpu_profile": "pprof.StartCPUProfile",
    "gort.debug.stop_cpu_profile": "pprof.StopCPUProfile",
    "gort.debug.write_profile": "pprof.Lookup",
    "gort.trace.FlightRecorder": "trace.FlightRecorder",
    "gort.trace.Region": "trace.Region",
    "gort.trace.Task": "trace.Task|trace.NewTask",
    "gort.trace.is_enabled": "trace.IsEnabled",
    "gort.trace.log": "trace.Log",
    "gort.trace.region": "trace.WithRegion",
    "gort.trace.start": "trace.Start",
    "gort.trace.stop": "trace.Stop",
    "gort.trace.task": "trace.NewTask",
    "gort.metrics.descriptions": "metrics.All",
    "gort.metrics.read": "metrics.Read",
    "gort.metrics.Histogram": "metrics.Float64Histogram",
    "gort.metrics.Description": "metrics.Description",
}


def _tool() -> Any:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import docs_griffe
    finally:
        sys.path.pop(0)
    return docs_griffe


@functools.cache
def public() -> dict[str, tuple[Any, Any]]:
    """Every public name -> what griffe knows of it, and the class that it is in."""
    tool = _tool()
    package = tool.load()
    found: dict[str, tuple[Any, Any]] = {}
    for module_name in tool.MODULES:
        module = package if module_name == "gort" else package[module_name.removeprefix("gort.")]
        for name, value in tool.exported(module):
            found[f"{module_name}.{name}"] = (value, None)
            if value.is_class:
                for member_name, member in tool.members(value):
                    found[f"{module_name}.{name}.{member_name}"] = (member, value)
    return found


def said(value: Any, cls: Any = None) -> str:
    """The docstring, and that of its class."""
    return "\n".join(v.docstring.value for v in (value, cls) if v is not None and v.has_docstring)


@functools.cache
def functions(file: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    nodes = ast.walk(ast.parse(file.read_text()))
    return [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def raised(value: Any) -> set[str]:
    """The exceptions that the text of a function raises itself."""
    found = set()
    for function in functions(value.filepath):
        first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
        if function.name == value.name and first <= value.lineno <= function.lineno:
            for node in ast.walk(function):
                if (
                    isinstance(node, ast.Raise)
                    and isinstance(node.exc, ast.Call)
                    and isinstance(node.exc.func, ast.Name)
                ):
                    found.add(node.exc.func.id)
    return {name for name in found if name[0].isupper()}  # others are functions that make one


def offered(file: Path) -> set[str]:
    """What the file's `__all__` names; nothing where it has none."""
    found = re.search(r"^__all__ = (\[.*?\])", file.read_text(), re.M | re.S)
    return set(ast.literal_eval(found[1])) if found else set()


def test_every_public_module_is_in_the_reference() -> None:
    """Each file and package directly in gort that offers more than what gort itself offers (group.py, scope.py)."""
    package = ROOT / "src" / "gort"
    files = {f.stem: f for f in package.glob("[!_]*.py")} | {
        f.parent.name: f for f in package.glob("[!_]*/__init__.py")
    }
    public = {f"gort.{name}" for name, file in files.items() if offered(file) - offered(package / "__init__.py")}
    assert set(_tool().MODULES) == {"gort", *public}


def test_every_public_name_has_a_docstring() -> None:
    assert len(public()) > 300
    assert [name for name, (value, _) in public().items() if not value.has_docstring] == []


def test_the_units_are_named() -> None:
    """Of each parameter that is a time, a size or a number."""
    silent = []
    for name, (value, cls) in public().items():
        if value.is_function:
            for parameter in value.parameters:
                unit = UNITS.get(parameter.name)
                if unit and not re.search(unit, said(value, cls)):
                    silent.append(f"{name}: {parameter.name}")
    assert silent == []


def test_the_errors_are_named() -> None:
    assert raised(public()["gort.net.Conn.peek"][0]) == {"ValueError"}
    silent = []
    for name, (value, cls) in public().items():
        if value.is_function:
            for error in sorted(raised(value)):
                if error not in said(value, cls):
                    silent.append(f"{name}: {error}")
    assert silent == []


def test_the_counterpart_in_go_is_named() -> None:
    assert set(GO) <= set(public()), "the table names what is not public"
    silent = []
    for name, counterpart in GO.items():
        value, cls = public()[name]
        if not re.search(counterpart.replace(".", r"\."), said(value, cls)):
            silent.append(f"{name}: {counterpart}")
    assert silent == []
