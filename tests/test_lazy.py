"""The modules that are loaded when they are first used: one module, whichever way leads to it, and errors as ever."""

from __future__ import annotations

import collections
import subprocess
import sys
from pathlib import Path

import pytest

from support import PATIENCE_S, environment


def run(code: str, *args: str, pure: str | None = None) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        env=environment(GORT_PURE=pure),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


WAYS = {
    "attribute": "gort.sync.Mutex",
    "import": "import gort.sync; gort.sync.Mutex",
    "import as": "import gort.sync as s; s.Mutex",
    "from package": "from gort import sync; sync.Mutex",
    "from module": "from gort.sync import Mutex",
    "star": "from gort import *; sync.Mutex",
    "import_module": "import importlib; importlib.import_module('gort.sync')",
    "getattr": "getattr(gort.sync, 'Mutex')",
    "dir": "assert 'Mutex' in dir(gort.sync)",
    "vars": "assert 'Mutex' in vars(gort.sync)",
    "repr": "assert 'sync.py' in repr(gort.sync)",
    "doc": "assert gort.sync.__doc__.startswith('Synchronisation')",
    "file": "assert gort.sync.__file__.endswith('sync.py')",
    "find_spec": "import importlib.util as u; assert 'sync.py' in u.find_spec('gort.sync').origin; gort.sync.Mutex",
    "pickle": "import pickle; assert pickle.loads(b'cgort.sync\\nMutex\\n.') is gort.sync.Mutex",
}


@pytest.mark.parametrize("pure", [None, "1"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_leads_to_the_same_module(way: str, pure: str | None) -> None:
    """Whoever took hold of the module before it was loaded has the loaded one, which is a plain module like any other."""
    code = f"""
import sys, types, gort
early = gort.sync
assert 'gort.sync' not in sys.modules and isinstance(early, types.ModuleType)
{WAYS[way]}
assert early is gort.sync is sys.modules['gort.sync']
assert type(early) is types.ModuleType and early.__name__ == 'gort.sync'
assert early.__spec__.name == 'gort.sync' and early.__spec__.loader is early.__loader__
assert early.Mutex.__module__ == 'gort.sync' and early.WaitGroup.go.__globals__ is vars(early)
print('good')
"""
    assert run(code, pure=pure) == ["good"]


def test_looking_at_the_package_loads_nothing() -> None:
    code = """
import sys, inspect, gort
hasattr(gort, 'net'), dir(gort), vars(gort), inspect.getmembers(gort)
for module in list(sys.modules.values()):
    getattr(module, '__warningregistry__', None), getattr(module, '__file__', None)
from gort import *
from gort import net
print([n for n in ('context', 'exec', 'net', 'os', 'sync') if f'gort.{n}' in sys.modules])
"""
    assert run(code) == ["[]"]


@pytest.mark.parametrize("change", ["gort.sync.Mutex = 7", "setattr(gort.sync, 'Mutex', 7)",
                                    "from unittest import mock; mock.patch('gort.sync.Mutex', 7).start()"])  # fmt: skip
def test_a_change_made_before_it_is_loaded_stays(change: str) -> None:
    code = f"import gort\n{change}\nfrom gort.sync import Mutex, Cond\nprint(Mutex, Cond.__init__.__globals__['Mutex'])"
    assert run(code) == ["7 7"]


def test_a_name_may_be_taken_out_before_it_is_loaded() -> None:
    assert run("import gort\ndel gort.sync.Pool\nprint(hasattr(gort.sync, 'Pool'), hasattr(gort.sync, 'Once'))") == [
        "False True"
    ]


@pytest.mark.parametrize("use", ["gort.net.dial", "import gort.net", "from gort.net import dial",
                                 "import gort.net.conn", "gort.net.x = 1", "dir(gort.net)"])  # fmt: skip
def test_a_module_that_cannot_be_loaded_says_why_each_time(use: str) -> None:
    """gort.net on a system for which it has no poller; and once the reason has gone, it is loaded."""
    code = f"""
import sys, gort
early, system = gort.net, sys.platform
sys.platform = 'win32'
for _ in range(3):
    try:
        {use}
    except ImportError as e:
        print(str(e).split(',')[0])
    assert 'gort.net' not in sys.modules
sys.platform = system
{use}
assert early is gort.net is sys.modules['gort.net'] and callable(early.dial)
"""
    assert run(code) == ["gort.net needs descriptors of Unix"] * 3


def test_an_unknown_name_is_an_ordinary_attribute_error() -> None:
    code = """
import gort
for look in (lambda: gort.nothing, lambda: gort.sync.nothing):
    try:
        look()
    except AttributeError as e:
        print(e)
"""
    assert run(code) == [
        "module 'gort' has no attribute 'nothing'",
        "module 'gort.sync' has no attribute 'nothing'",
    ]


@pytest.mark.parametrize("pure", [None, "1"])
def test_threads_that_come_together_wait_for_each_other(pure: str | None) -> None:
    """Some look into a module, some import it: every one gets the whole of it.  (Importing a package in one thread and a
    module of it in another is what the import system itself may refuse.)"""
    code = """
import sys, threading, gort
sys.setswitchinterval(1e-6)
ways = [
    lambda: gort.net.dial, lambda: gort.exec.run, lambda: gort.os.open, lambda: gort.context.background,
    lambda: __import__('gort.net').net.Closed, lambda: __import__('gort.net', fromlist=['dial']).dial,
    lambda: gort.sync.Mutex,
]
start, wrong = threading.Barrier(len(ways) * 3), []
def one(way):
    start.wait()
    try:
        way()
    except BaseException as e:
        wrong.append(repr(e))
threads = [threading.Thread(target=one, args=(way,)) for way in ways * 3]
[t.start() for t in threads]
[t.join(30) for t in threads]
print(wrong, any(t.is_alive() for t in threads))
"""
    assert run(code, pure=pure) == ["[] False"]


HALF_A_PACKAGE = """
import sys, threading, time
from importlib import _bootstrap
import gort

name = sys.argv[1]
assert "collections" not in sys.modules
begun, failed = threading.Event(), []

def stop_at_the_first_line(frame, event, arg):
    if frame.f_code.co_filename.endswith("collections/__init__.py"):
        if event == "line" and not begun.is_set():
            lock = _bootstrap._module_locks["collections"]()
            begun.set()
            while loader.is_alive() and not lock.waiters:  # until it has the module, has failed, or waits for us
                time.sleep(0.001)
        return stop_at_the_first_line

def imports():
    sys.settrace(stop_at_the_first_line)
    import collections

def loads():
    begun.wait()
    try:
        dir(getattr(gort, name))
    except BaseException as exc:
        failed.append(repr(exc))

importer, loader = threading.Thread(target=imports), threading.Thread(target=loads)
loader.start(), importer.start()
loader.join(), importer.join()
print(failed)
"""


@pytest.mark.skipif(
    Path(collections.__file__).with_name("abc.py").exists(), reason="collections.abc has a file of its own here"
)
@pytest.mark.parametrize("pure", [None, "1"])
@pytest.mark.parametrize(
    "name",
    ["bufio", "context", "debug", "exec", "metrics", "net", "notebook", "os", "signal", "sync", "testing", "trace"],
)
def test_a_module_is_loaded_while_another_thread_imports_collections(name: str, pure: str | None) -> None:
    """`import collections.abc` does not wait for a thread that imports collections, and until that thread has run its
    first lines there is no such module.  So what is loaded lazily must not import it."""
    assert run(HALF_A_PACKAGE, name, pure=pure) == ["[]"]


@pytest.mark.parametrize("pure", [None, "1"])
def test_nothing_is_taken_out_of_the_meta_path(pure: str | None) -> None:
    """The import system walks through that list by position and without a lock: an entry that is taken out before the
    one it asks makes it pass over the next one, and another thread's import of anything fails."""
    code = """
import sys

class Watched(list):
    def told(self, *args):
        raise AssertionError(f"taken out: {args}")
    remove = pop = clear = __delitem__ = __setitem__ = told

sys.meta_path = Watched(sys.meta_path)
import gort, gort._start.lazy as lazy
for name in list(lazy._waiting):
    package, _, last = name.rpartition('.')
    dir(vars(sys.modules[package])[last])
print(lazy._waiting, lazy._loading, type(gort.net).__name__, gort.net.listen.__name__)
"""
    assert run(code, pure=pure) == ["{} {} module listen"]


@pytest.mark.parametrize("pure", [None, "1"])
@pytest.mark.parametrize("way", ["early.dial", "dir(early)", "early.x = 1", "repr(early)"])
def test_a_module_that_another_finder_has_loaded(way: str, pure: str | None) -> None:
    """So it goes if a program takes an entry out of sys.meta_path while another thread imports."""
    code = f"""
import sys, gort, gort._start.lazy as lazy
early = gort.net
sys.meta_path.remove(lazy.finder)
from gort.net import dial
sys.meta_path.insert(0, lazy.finder)
{way}
print(early is gort.net, early.dial is gort.net.dial is dial, type(early).__name__, 'gort.net' in lazy._waiting)
"""
    assert run(code, pure=pure) == ["False True module False"]


@pytest.mark.parametrize("pure", [None, "1"])
@pytest.mark.parametrize("use", ["gort.net.dial", "import gort.net; gort.net.dial", "from gort.net import dial"])
def test_who_waited_for_an_import_that_failed_gets_the_error(use: str, pure: str | None) -> None:
    """Not an AttributeError about a module that is still empty."""
    code = f"""
import sys, threading, time
from importlib import _bootstrap
import gort
told, begun = [], threading.Event()

class Linux(str):
    __hash__ = str.__hash__
    def __eq__(self, other):  # in the first lines of gort.net, which refuse other systems
        if threading.current_thread() is first:
            begun.set()
            lock = _bootstrap._module_locks['gort.net']()
            while not lock.waiters:  # until the second waits for this import
                time.sleep(0.001)
        return True

def one(wait):
    if wait:
        begun.wait()
    try:
        {use}
    except BaseException as e:
        told.append(type(e).__name__ + ' ' + str(e).split(',')[0])

first = threading.Thread(target=one, args=(False,))
second = threading.Thread(target=one, args=(True,))
system, sys.platform = sys.platform, Linux(sys.platform)
second.start(), first.start()
second.join(), first.join()
print(told)
sys.platform = system
one(False)
print(told[2:], callable(gort.net.dial))
"""
    error = "ImportError gort.net needs descriptors of Unix"
    assert run(code, pure=pure) == [str([error] * 2), "[] True"]


def test_reload_gives_the_same_module() -> None:
    code = "import gort, importlib\ns = gort.sync\ns.Mutex = 7\nprint(importlib.reload(s) is s is gort.sync, s.Mutex)"
    assert run(code) == ["True <class 'gort.sync.Mutex'>"]


def test_as_a_program() -> None:
    """`python -m gort.sync` runs the file as __main__ (and a name of the library is no program: nothing happens)."""
    done = subprocess.run(
        [sys.executable, "-m", "gort.sync"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=environment(),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
