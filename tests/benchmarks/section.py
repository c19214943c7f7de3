"""Sections of the benchmark report: a table for people, and figures by name for the cost page and regression checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

__all__ = ["MIB", "Section", "spread", "table"]

MIB = 1 << 20


@dataclass(frozen=True)
class Section:
    """Markdown text, and the numbers of its tables by names of the form "section: row: column"."""

    text: str
    figures: dict[str, float] = field(default_factory=dict)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def spread(values: Iterable[float]) -> tuple[float, float, float]:
    """Median (the upper one of two), minimum and maximum."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[0], ordered[-1]
