"""Cost page: a million to a billion images of Cityscapes size, computed from the figures of a benchmark run.

`python -m benchmarks.cost FIGURES.json PAGE.md`. The options set the prices in dollars: --storage (per GB and month),
--get and --put (per thousand requests), --core-hour.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench_lake import IMAGES as LAKE_IMAGES
from benchmarks.bench_lake import REQUESTS, SIDE, SOURCES
from benchmarks.bench_ranking import BLOCK_IMAGES as RANKED_BLOCK_IMAGES
from benchmarks.bench_ranking import LATENCY, STEPS
from benchmarks.section import table
from masksift.core.limits import MAX_CONCURRENT_REQUESTS

IMAGES = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
SOURCE_IMAGES = 10_000
"""Images of a source."""
RANKED = 10_000_000
"""Images of the row of the ranking's benchmark that is scaled."""
LAKE_SOURCES = (1_000_000, 10_000_000)
"""Sources of the rows that are computed from the benchmark of many small sources."""
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
    """Cost of one data set.

    Attributes:
        stored: Bytes in the store.
        gets: Reading requests.
        puts: Writing requests.
        opening_seconds: Seconds in which the client opens the sources and creates their evidence.
        core_seconds: Core seconds of workers in both passes.
        scheduler_seconds: Core seconds of the scheduler in both passes.
        ranking_seconds: Core seconds of workers in the ranking.
        client_seconds: Seconds of the ranking in the client.
        busy: Share of their time that workers work.
    """

    stored: float
    gets: float
    puts: float
    opening_seconds: float
    core_seconds: float
    scheduler_seconds: float
    ranking_seconds: float
    client_seconds: float
    busy: float

    @property
    def core_hours(self) -> float:
        """Core hours of workers and client; the scheduler's core is one more during the whole run."""
        return (self.core_seconds + self.ranking_seconds + self.opening_seconds + self.client_seconds) / 3600

    def passes(self, workers: int) -> float:
        """Seconds of both passes with workers of one core each, limited by the scheduler."""
        return max(self.core_seconds / (workers * self.busy), self.scheduler_seconds)

    def ranking(self, workers: int) -> float:
        """Seconds of the ranking: compaction, sorting and writing by the workers, and the client's part."""
        return self.ranking_seconds / (workers * self.busy) + self.client_seconds

    def wall(self, workers: int) -> float:
        """Seconds of the whole run."""
        return self.opening_seconds + self.passes(workers) + self.ranking(workers)


def cost(figures: Figures, images: int, classes: int, inputs: str) -> Cost:
    """Cost of processing the images."""

    def image(name: str) -> float:
        return figures(f"image: {classes} classes: {name}")

    def ranking(name: str) -> float:
        return figures(f"ranking: {RANKED} images: {name}")

    full = inputs == INPUTS[0]
    blocks = images / image("images")
    sources = images / SOURCE_IMAGES
    stored = image("labels") + image("evidence") + image("mask") + full * image("predictions")
    # without predictions a run reads labels and evidence once, for it has no first pass
    reads, writes = (image(name if full else f"evidence {name}") for name in ("reads", "writes"))
    reads += writes - image("evidence writes")  # the input of scoring, written by the first pass
    gets = images * reads + blocks * image("more reads") / (1 if full else 2)
    stages = ("condense", "score") if full else ("score",)
    block_seconds = sum(figures(f"scheduler: {stage}: scheduler ms a block") for stage in stages) / 1000
    times = images / RANKED
    # each part of a ranked table reads its range of every part of the table of images
    measured = ranking("requests") - RANKED / RANKED_BLOCK_IMAGES
    ranges = measured * times**2
    waiting = (ranges - measured * times) * LATENCY / MAX_CONCURRENT_REQUESTS
    return Cost(
        stored=images * stored,
        gets=gets + sources * figures("sources: open, requests a source") + blocks + ranges,
        puts=images * writes + sources * figures("sources: create, requests a source"),
        opening_seconds=sources
        * sum(figures(f"sources: {step}, seconds per 1,000") / 1000 for step in ("open", "create")),
        core_seconds=images * (image("score") + (image("condense") if full else image("in memory"))),
        scheduler_seconds=blocks * block_seconds,
        ranking_seconds=sum(ranking(step) for step in STEPS) * times + waiting,
        client_seconds=ranking("client") * times,
        busy=min(figures(f"scheduler: {stage}: busy") for stage in ("condense", "score")),
    )


@dataclass(frozen=True)
class LakeCost:
    """Cost of a run over many small sources.

    Attributes:
        opening: Seconds in which the client opens the sources.
        core_seconds: Core seconds of all stages, those of the server included.
        gets: Reading requests.
        puts: Writing and listing requests.
        client: Peak of the client's memory, MiB.
        scheduler: Peak of the scheduler's memory, MiB.
    """

    opening: float
    core_seconds: float
    gets: float
    puts: float
    client: float
    scheduler: float

    def wall(self, workers: int) -> float:
        """Seconds of the whole run with workers of one core each."""
        return self.opening + self.core_seconds / workers


def lake_cost(figures: Figures, sources: int) -> LakeCost:
    """Cost of so many small sources: that of the largest measured run, and the slope for each further source."""

    def at(name: str, unit: str) -> float:
        more = sources - SOURCES[-1]
        return figures(f"lake: {name}: {unit}") + more * figures(f"lake: {name}: {unit} a source")

    requests = {kind: at(kind, "requests") for kind in REQUESTS}
    return LakeCost(
        opening=at("open", "seconds"),
        core_seconds=2 * sum(at(stage, "seconds") for stage in ("condense", "thresholds", "score", "rank")),
        gets=requests["GET"] + requests["HEAD"],
        puts=requests["PUT"] + requests["LIST"],
        client=at("client", "MiB"),
        scheduler=at("scheduler", "MiB"),
    )


def lake_table(figures: Figures, prices: Prices) -> str:
    """Format the measured run over many small sources, and what follows for more of them."""
    rows = []
    for sources in (SOURCES[-1], *LAKE_SOURCES):
        found = lake_cost(figures, sources)
        rows.append(
            [
                f"{sources * LAKE_IMAGES:,}",
                f"{sources:,}",
                f"{(found.gets + found.puts) / 1e6:,.1f}",
                f"{(found.gets * prices.get + found.puts * prices.put) / 1e3:,.2f}",
                _time(found.opening),
                f"{found.core_seconds / 3600:,.1f}",
                *(_time(found.wall(workers)) for workers in (2, *WORKERS)),
                f"{found.client / 1024:,.1f}",
                f"{found.scheduler / 1024:,.1f}",
            ]
        )
    names = ["images", "sources", "million requests", "$", "opening", "core hours of the stages"]
    names += [f"on {n:,} workers" for n in (2, *WORKERS)]
    return table([*names, "client, GiB", "scheduler, GiB"], rows)


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
            f"{found.core_hours:,.0f}",
            f"{found.core_hours * prices.core_hour:,.0f}",
        ]
        for head, found in zip(heads, costs.values(), strict=True)
    ]
    walls = [
        [
            *head,
            *(_time(found.wall(workers)) for workers in WORKERS),
            *(_time(found.opening_seconds), _time(found.passes(WORKERS[-1])), _time(found.ranking(WORKERS[-1]))),
        ]
        for head, found in zip(heads, costs.values(), strict=True)
    ]
    return "\n".join(
        [
            TEXT.format(source=source, source_images=f"{SOURCE_IMAGES:,}", **vars(prices)),
            table([*names, "TB", "$ per month", "million requests", "$", "core hours", "$"], money),
            WALL.format(most=f"{WORKERS[-1]:,}"),
            table([*names, *(f"on {n:,} workers" for n in WORKERS), "opening", "passes", "ranking"], walls),
            FETCH.format(
                *(
                    f"{read / seconds / 1e6:,.0f}"
                    for read, seconds in (
                        (figures(f"image: {k} classes: predictions"), figures(f"image: {k} classes: condense"))
                        for k in CLASSES
                    )
                )
            ),
            LAKE.format(images=LAKE_IMAGES, side=SIDE),
            lake_table(figures, prices),
            INPUT,
            table(["benchmark row", "figure"], [[name, _figure(value)] for name, value in figures.used.items()]),
        ]
    )


def _time(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


TEXT = """# Cost

Storage, requests, compute and wall time of a run over a million to a billion images of Cityscapes' size (1,024 x
2,048), in sources of {source_images} images:

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
Wall time on workers of one core each, and on {most} workers by part:

- Opening: the client lists and opens the sources and creates their evidence, at a store that answers after 20 ms.
- Passes: core seconds divided by workers, with the busy share that 200 simulated workers reached;
  at least the scheduler's time for the blocks.
- Ranking: workers compact the outputs of blocks, sort and write the tables, at a store that answers after 30 ms; the
  client merges samples and writes what is small.

The time in which the store and the network deliver predictions is not included.
"""
FETCH = """
To keep up, the store must deliver {} MB per second and worker with 19 classes and {} with 150, as stored.
"""
LAKE = """
## Many small sources

The other extreme: sources of {images} images of {side} x {side}, where requests and the work for each block weigh more
than pixels. The first row was measured on two cores that an S3 server, the scheduler, two workers and the client share;
`tests/benchmarks/results.md` has its stages. The others follow from what each further source costs. Core hours are
those of both cores, with the server's share; deleting is free.
"""
INPUT = """
The client's memory grows with the sources. Join small sources before they are many millions.

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
