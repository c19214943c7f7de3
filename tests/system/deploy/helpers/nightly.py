"""A small lake with hive partitions, masksift's command as a workflow finds it, and what its nights leave."""

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

__all__ = ["COMMAND", "LEFT_OUT", "WHOLE", "command_in", "config_in", "files", "lake", "record", "stand_in"]

COMMAND = shlex.join(["env", f"PYTHONPATH={Path(masksift.__file__).parents[1]}", sys.executable, "-m", "masksift"])
"""This very masksift, from any environment and folder."""

WHOLE, LEFT_OUT = ("2026-11-21", "2026-11-22"), "2026-11-23"
"""Days of the lake: two in order, and one in which an image has lost a chunk."""


def lake(folder: Path) -> Path:
    """Three days, of two sites each, of six images each."""
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


def config_in(folder: Path, more: str = "") -> Path:
    """The TOML file of runs that start no worker and make no page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.toml").write_text(f'{more}\n[executor]\nkind = "serial"\n\n[report]\ntop = 0\n')
    return folder / "run.toml"


def command_in(folder: Path) -> Path:
    """A folder for PATH, with the command `masksift`."""
    return _executable(folder, f'#!/bin/sh\nexec {COMMAND} "$@"\n')


def stand_in(folder: Path, **codes: str) -> Path:
    """A folder for PATH, with a `masksift` that notes down its words in `called`, a line a call, and ends with the next
    of the exit codes of its verb (the last one again and again; 0 where none is given)."""
    folder.mkdir(parents=True, exist_ok=True)
    for verb, told in codes.items():
        (folder / verb).write_text(told + "\n")
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
    """What lies below a folder, by name: digests of the bytes."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def record(quality: Path, day: str) -> dict[str, Any]:
    """The run.json of a day."""
    found: dict[str, Any] = json.loads((quality / f"dt={day}" / "run.json").read_text())
    return found
