"""Start benchmark modules in separate processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def environment(**variables: str) -> dict[str, str]:
    """This process's environment, in which `benchmarks` can be imported, with further variables."""
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **variables}


def module_command(module: str, *args: object) -> list[str]:
    """Command line of `python -m benchmarks.MODULE ARGS`."""
    return [sys.executable, "-m", f"benchmarks.{module}", *map(str, args)]
