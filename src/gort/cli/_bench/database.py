"""PostgreSQL for the rows serve-psycopg-*: a server of its own in a folder that goes with it, for each measurement.

It needs `initdb` and `postgres` on PATH, and psycopg.  Where gort runs as root they run as the user `postgres`, because
PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gort.cli._bench import network
from gort.cli._bench.peers import BenchError

PATIENCE_S = 60.0


@contextmanager
def running() -> Iterator[str]:
    """Starts PostgreSQL; gives what psycopg connects with; ends it.  Raises BenchError."""
    if find_spec("psycopg") is None:
        raise BenchError('psycopg is not installed (pip install "psycopg[binary]")')
    initdb, postgres = shutil.which("initdb"), shutil.which("postgres")
    if initdb is None or postgres is None:
        raise BenchError("PostgreSQL is not installed (`initdb` and `postgres` are not on PATH)")
    port = network.free_port()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        data.mkdir()
        who: dict[str, Any] = {"cwd": data, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if os.geteuid() == 0:
            Path(folder).chmod(0o755)
            shutil.chown(data, "postgres", "postgres")
            who.update(user="postgres", group="postgres", extra_groups=())
        made = subprocess.run([initdb, "-D", data, "-U", "gort", "-A", "trust", "--no-sync"], check=False, **who)
        if made.returncode:
            raise BenchError(f"initdb has failed: exit status {made.returncode}")
        settings = ["-h", "127.0.0.1", "-p", str(port), "-k", str(data), "-c", "fsync=off", "-c", "max_connections=200"]
        process = subprocess.Popen([postgres, "-D", data, *settings], **who)
        try:
            given = f"host=127.0.0.1 port={port} user=gort dbname=postgres"
            _wait(process, given)
            yield given
        finally:
            process.send_signal(signal.SIGINT)  # at once, whoever is connected
            process.wait()


def _wait(process: subprocess.Popen[bytes], given: str) -> None:
    """Waits until it answers."""
    psycopg = import_module("psycopg")
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            psycopg.connect(given).close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > until:
                raise BenchError("PostgreSQL has not started") from None
            time.sleep(0.02)
