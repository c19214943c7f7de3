"""A small data lake with hive partitions, the masksift command for workflows, and results of nightly runs."""

from __future__ import annotations

import hashlib
import json
import shlex
import stat
import sys
from pathlib import Path
from typing import Any

import masksift
from support.sources import erase_chunks, make_data, write_source

__all__ = [
    "COMMAND",
    "LEFT_OUT",
    "WHOLE",
    "files",
    "lake",
    "record",
    "write_command",
    "write_config",
    "write_fake_command",
]

COMMAND = shlex.join(["env", f"PYTHONPATH={Path(masksift.__file__).parents[1]}", sys.executable, "-m", "masksift"])
"""Command line of this masksift from any environment and folder."""

WHOLE, LEFT_OUT = ("2026-11-21", "2026-11-22"), "2026-11-23"
"""Days of the lake: two good ones, and one with a missing chunk."""


def lake(folder: Path) -> Path:
    """Write three days of two sites with six images each."""
    for number, day in enumerate([*WHOLE, LEFT_OUT]):
        for site in ("a", "b"):
            source = write_source(
                folder / f"dt={day}" / f"site={site}",
                make_data(images=6, seed=10 * number + ord(site)),
                ids=[f"{day}-{site}{i}" for i in range(6)],
            )
            if day == LEFT_OUT and site == "b":
                erase_chunks(source.predictions, slice(2, 4))
    return folder


def write_config(folder: Path, more: str = "") -> Path:
    """Write the TOML file of serial runs without a report."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.toml").write_text(f'{more}\n[executor]\nkind = "serial"\n\n[report]\ntop = 0\n')
    return folder / "run.toml"


def write_command(folder: Path) -> Path:
    """Write a folder for PATH with the command `masksift`."""
    return _executable(folder, f'#!/bin/sh\nexec {COMMAND} "$@"\n')


def write_fake_command(folder: Path, **codes: str) -> Path:
    """Write a folder for PATH with a fake `masksift`.

    It appends its arguments to `called` and exits with the next code of its verb (the last one repeats; default 0).
    """
    folder.mkdir(parents=True, exist_ok=True)
    for verb, exit_codes in codes.items():
        (folder / verb).write_text(exit_codes + "\n")
    return _executable(
        folder,
        """#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/called"
echo "masksift: the words were $*" >&2
[ -f "$here/$1" ] || exit 0
read -r code rest <"$here/$1"
[ -z "$rest" ] || echo "$rest" >"$here/$1"
exit "$code"
""",
    )


def _executable(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "masksift"
    file.write_text(text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return folder


def files(out: Path) -> dict[str, str]:
    """Return the digest of every file below a folder."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def record(quality: Path, day: str) -> dict[str, Any]:
    """Return run.json of a day."""
    found: dict[str, Any] = json.loads((quality / f"dt={day}" / "run.json").read_text())
    return found
