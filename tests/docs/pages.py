"""Markdown pages of the repository, and the fenced blocks in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["GENERATED", "PAGES", "ROOT", "Block", "blocks", "prose", "shell_commands"]

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / ".github").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
    ]
)
GENERATED = {ROOT / "docs/reference" / name for name in ("configuration.md", "cli.md", "outputs.md")}

_BLOCK = re.compile(
    r"(?:^ *<!-- test(?:: (?P<note>.*?))? -->\n)?^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the note of its test marker (None without a marker)."""

    language: str
    text: str
    note: str | None


def blocks(page: Path) -> list[Block]:
    found = []
    for match in _BLOCK.finditer(page.read_text()):
        marked = match[0].lstrip().startswith("<!-- test")
        found.append(Block(match["language"], match["text"], (match["note"] or "") if marked else None))
    return found


def prose(page: Path) -> str:
    """Text of a page without fenced blocks, code spans and link targets."""
    text = _BLOCK.sub("", page.read_text())
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "``", text))


def shell_commands(text: str) -> Iterator[list[str]]:
    """Yield the commands of a shell block as argument lists, without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield shlex.split(line, comments=True)
