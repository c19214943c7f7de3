"""Cost page: 1, 10 and 100 million images of Cityscapes size, computed from the figures of a benchmark run.

`python -m benchmarks.cost FIGURES.json PAGE.md`. The options set the prices in dollars: --storage (per GB and month),
--get and --put (per thousand requests), --core-hour.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.section import table

IMAGES = (1_000_000, 10_000_000, 100_000_000)
CLASSES = (19, 150)
WORKERS = (10, 100, 1_000)
INPUTS = ("full predictions", "evidence at inference")


@dataclass(frozen=True)
class Prices:
    """List prices of an object store and of a general-purpose virtual core, dollars; yours will differ."""

    storage: float = 0.023
    get: float = 0.0004
    put: float = 0.005
    core_hour: float = 0.048


class Figures:
    """Figures of a benchmark run by name; ``used`` records the ones read."""

    def __init__(self, rows: Mapping[str, float]) -> None:
        self._rows = rows
        self.used: dict[str, float] = {}

    def __call__(self, name: str) -> float:
        self.used[name] = self._rows[name]
        return self._rows[name]


@dataclass(frozen=True)
class Cost:
    """Cost of one data set: stored bytes, requests, core seconds, tasks, other seconds, worker utilization."""

    stored: float
    gets: float
    puts: float
    core_seconds: float
    tasks: float
    scheduler_seconds: float
    ranking_seconds: float
    busy: float

    def wall(self, workers: int) -> float:
        """Seconds with workers of one core each, limited by the scheduler."""
        return max(self.core_seconds / (workers * self.busy), self.scheduler_seconds) + self.ranking_seconds


def cost(figures: Figures, images: int, classes: int, inputs: str) -> Cost:
    """Cost of processing the images."""

    def image(name: str) -> float:
        return figures(f"image: {classes} classes: {name}")

    full = inputs == INPUTS[0]
    blocks = images / image("images")
    stored = image("labels") + image("evidence") + image("mask") + full * image("predictions")
    # without predictions a run does not read one chunk of them and one of labels, and has no first pass
    gets = images * (image("reads") - 2 * (not full)) + blocks * image("more reads") / (1 if full else 2)
    passes = 2 if full else 1
    task_seconds = max(figures(f"scheduler: {stage}: scheduler ms a task") for stage in ("condense", "score")) / 1000
    rows = 100_000_000
    return Cost(
        stored=images * stored,
        gets=gets,
        puts=images * image("writes"),
        core_seconds=images * (image("score") + (image("condense") if full else image("in memory"))),
        tasks=passes * blocks,
        scheduler_seconds=passes * blocks * task_seconds,
        ranking_seconds=images * figures(f"ranking: {rows} rows: seconds") / rows,
        busy=min(figures(f"scheduler: {stage}: busy") for stage in ("condense", "score")),
    )


def page(rows: Mapping[str, float], prices: Prices, source: str) -> str:
    """Format the page as Markdown."""
    figures = Figures(rows)
    costs = {
        (images, classes, inputs): cost(figures, images, classes, inputs)
        for images in IMAGES
        for classes in CLASSES
        for inputs in INPUTS
    }
    names = ["images", "classes", "stored"]
    heads = [[f"{images:,}", classes, inputs] for images, classes, inputs in costs]
    money = [
        [
            *head,
            f"{found.stored / 1e12:,.1f}",
            f"{found.stored / 1e9 * prices.storage:,.0f}",
            f"{(found.gets + found.puts) / 1e6:,.1f}",
            f"{(found.gets * prices.get + found.puts * prices.put) / 1e3:,.0f}",
            f"{found.core_seconds / 3600:,.0f}",
            f"{found.core_seconds / 3600 * prices.core_hour:,.0f}",
        ]
        for head, found in zip(heads, costs.values(), strict=True)
    ]
    walls = [
        [*head, *(_time(found.wall(workers)) for workers in WORKERS), f"{found.tasks:,.0f}"]
        for head, found in zip(heads, costs.values(), strict=True)
    ]
    return "\n".join(
        [
            TEXT.format(source=source, **vars(prices)),
            table([*names, "TB", "$ per month", "million requests", "$", "core hours", "$"], money),
            WALL,
            table([*names, *(f"on {workers:,} workers" for workers in WORKERS), "tasks"], walls),
            FETCH.format(
                *(
                    f"{read / seconds / 1e6:,.0f}"
                    for read, seconds in (
                        (figures(f"image: {k} classes: predictions"), figures(f"image: {k} classes: condense"))
                        for k in CLASSES
                    )
                )
            ),
            table(["benchmark row", "figure"], [[name, _figure(value)] for name, value in figures.used.items()]),
        ]
    )


def _time(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


TEXT = """# Cost

Storage, requests, compute and wall time of a run over 1, 10 and 100 million images of Cityscapes' size (1,024 x 2,048):

```bash
PYTHONPATH=tests .venv/bin/python -m benchmarks.cost tests/benchmarks/{source} docs/operations/cost.md
```

The figures are computed from rows of `make bench`, [listed below](#input-figures), and from these prices, which are
options of the command (`--help`): {storage} $ per GB and month, {get} $ per thousand reads, {put} $ per thousand
writes, {core_hour} $ per core hour.

"Full predictions": the model's uint8 predictions are stored with the labels, and a run reads them once. "Evidence at
inference": the [model's program](../guides/writers.md) condenses predictions in memory and stores the evidence only;
the core hours are those of condensing there and of scoring later. Predictions and labels of the benchmark are
synthetic: how well yours compress decides the first two columns.
"""
WALL = """
Wall time: core seconds divided by workers of one core each, with the busy share that a scheduler with 200 simulated
workers reached; at least the scheduler's time for the tasks; plus the ranking, in one client. Time of the store and the
network is not included.
"""
FETCH = """
To keep up, the store must deliver {} MB per second and worker with 19 classes and {} with 150, as stored.

## Input figures
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Compute the cost page from the figures of a benchmark run.")
    parser.add_argument("figures", type=Path)
    parser.add_argument("page", type=Path)
    for name, price in vars(Prices()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=price, help=f"dollars; default: {price}")
    args = vars(parser.parse_args())
    rows, target = args.pop("figures"), args.pop("page")
    target.write_text(page(json.loads(rows.read_text()), Prices(**args), rows.name))


if __name__ == "__main__":
    main()
