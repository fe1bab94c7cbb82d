"""What is needed to repeat a measurement: the machine, the interpreter, how gort was built."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from datetime import UTC, datetime
from pathlib import Path

from gort._start.verify import read_record


def cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_available() -> int:
    """Bytes that could be taken without swapping; a large number where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 1 << 40


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build_info() -> dict[str, str]:
    """How the compiled core was built, from the record that setup.py left for this interpreter."""
    record = read_record(str(Path(__file__).resolve().parents[2]))
    return record[2] if record else {}


def describe() -> dict[str, object]:
    import gort.runtime

    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "processors": processors(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "load_before": list(os.getloadavg()),
        "python": platform.python_version(),
        "python_build": " ".join(platform.python_build()),
        "python_compiler": platform.python_compiler(),
        "python_cflags": sysconfig.get_config_var("CFLAGS") or "",
        "python_configure": sysconfig.get_config_var("CONFIG_ARGS") or "",
        "gil": bool(gil),
        "gort_compiled": bool(gort.runtime.compiled),
        "gort_build": build_info(),
        "command": sys.argv,
    }
