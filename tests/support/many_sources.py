"""Make the tasks of runs of many sources that do not exist."""

from __future__ import annotations

from dataclasses import replace

from masksift.core.specs import ArraySpec, EvidenceLocation, SourceSpec
from masksift.engine.planning.layout import Settings
from masksift.engine.planning.plan import make_plan
from masksift.engine.work_items import BlockTasks

__all__ = ["IMAGES", "make_sources", "make_tasks"]

IMAGES = 3
"""Images of a source, and its blocks."""


def make_sources(count: int) -> tuple[SourceSpec, ...]:
    """Return sources that differ in name, URLs and content."""
    sources = []
    for number in range(count):
        name = f"s{number:06d}"
        predictions = ArraySpec(f"{name}/p", (IMAGES, 2, 4, 4), (1, 2, 4, 4), "uint8", 1, (0, 1, 2, 3))
        labels = ArraySpec(f"{name}/l", (IMAGES, 4, 4), (1, 4, 4), "uint8", 1, (0, 1, 2))
        spec = SourceSpec(
            number, name, name, predictions, labels, None, ("a", "b"), (255,), "probabilities", 1 / 255, 0.05, True
        )
        sources.append(replace(spec, content_hashes={"metadata": "0" * 64, "content": f"{number:064x}"}))
    return tuple(sources)


def make_tasks(count: int) -> BlockTasks:
    """Return the tasks of sources of which every second one is condensed already."""
    sources = make_sources(count)
    reused = [EvidenceLocation("base", "other", 7, "evidence") if n % 2 else None for n in range(count)]
    return BlockTasks.from_plan(make_plan(sources, Settings(), {}), sources, "out", reused)
