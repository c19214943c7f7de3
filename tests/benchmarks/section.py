"""What a part of the benchmarks answers: a table for people, and the same figures by name for the cost page and the
guard against regressions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

__all__ = ["MIB", "Section", "spread", "table"]

MIB = 1 << 20


@dataclass(frozen=True)
class Section:
    """``text``: Markdown. ``figures``: numbers of its tables by a name of the form "part: row: column"."""

    text: str
    figures: dict[str, float] = field(default_factory=dict)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def spread(values: Iterable[float]) -> tuple[float, float, float]:
    """(median, least, most); of an even number of values the upper one in the middle."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[0], ordered[-1]
