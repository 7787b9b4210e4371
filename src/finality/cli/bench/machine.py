"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def description(directory: Path) -> dict[str, Any]:
    """Return the machine that a result belongs to; a number without one says nothing."""
    import apsw

    import finality

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "finality": finality.__version__,
        "file_system": _file_system(directory),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # Only Linux has this file; elsewhere the platform's own name has to do.
    return platform.processor() or platform.machine()


def _file_system(directory: Path) -> str:
    found = ("?", "")
    try:
        for line in Path("/proc/mounts").read_text().splitlines():
            _, mount, kind, *_ = line.split()
            if str(directory.resolve()).startswith(mount) and len(mount) >= len(found[1]):
                found = (kind, mount)
    except OSError:
        return "?"  # Only Linux has this file.
    return found[0]
