"""Modules that are imported before a command begins to work."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import masksift

HEAVY = ("dask", "distributed", "duckdb", "fsspec", "numba", "obstore", "pyarrow", "scipy", "zarr")

HELP_OF_ALL_COMMANDS = """
import argparse, sys
from masksift.cli.parser import make_parser

def show(parser):
    parser.complete().format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                show(command)

show(make_parser())
"""


@pytest.mark.parametrize(
    "code",
    [
        "import masksift, sys; masksift.__version__, masksift.UsageError",
        "import masksift.cli.main, sys",
        HELP_OF_ALL_COMMANDS,
    ],
    ids=["package", "command line", "help"],
)
def test_import_without_work_loads_no_heavy_package(code: str) -> None:
    found = f"{code}\nprint([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", found], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_public_names_are_functions_after_their_modules_are_imported() -> None:
    for module in ("masksift.array_audit", "masksift.runner"):
        import_module(module)
    assert all(hasattr(masksift, name) for name in masksift.__all__)
    assert callable(masksift.run)
    assert callable(masksift.audit)
    with pytest.raises(AttributeError, match="'masksift' has no attribute 'runs'"):
        masksift.runs  # noqa: B018
