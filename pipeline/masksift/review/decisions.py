"""Decisions of reviewers on the images and regions of a run, as the report page saves them.

A decisions file is one JSON object with ``format`` (1), ``run`` (fingerprint of the reviewed run) and ``verdicts``, a
list of entries

    {"verdict": "accept" | "reject" | "unsure", "image_id": str, "source": str, "index": int, "listed_regions": int,
     "region": null | {...}}

`accept`: the label is wrong, as flagged; `reject`: the label is right; `unsure`: the reviewer cannot tell. An entry
without a region applies to the whole image and to all of its regions that have no entry. A region is identified by
``rank``, its row in the run's table of regions. For human readers the page adds ``kind``, ``given``, ``suggested``
(class names, null for the given class of an omission), ``area``, ``y0``, ``x0``, ``y1`` and ``x1``. Unknown members
are ignored.

``listed_regions`` is the number of the image's rows in the run's table of regions: with ``regions.min_area`` and
``regions.top`` applied, but including regions that the page does not list for want of room. It may be absent, as in
files of version 0.2; the image is then never right by its regions alone, unless the table is at hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from masksift.core.errors import DataError, UsageError
from masksift.core.json_text import parse_json
from masksift.engine.completed_run import CompletedRun
from masksift.storage.objects import ObjectDirectory
from masksift.storage.urls import split_url

ACCEPT, REJECT, UNSURE = "accept", "reject", "unsure"
PARTIAL = "partial"
"""Status of an image of which only some listed regions are decided, none as accepted: neither wrong nor right."""

_UNMODIFIED = "Pass an unmodified file saved by the report page"

RERANKED = "reranked.parquet"
"""Table of a run, by default, with the regions in the order learned from decisions."""

ImageKey = tuple[str, int]
"""Source name and image index."""


class _RegionEntry(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    rank: int = Field(ge=1)


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    verdict: Literal["accept", "reject", "unsure"]
    image_id: str
    source: str
    index: int = Field(ge=0)
    listed_regions: int | None = Field(None, ge=0)
    region: _RegionEntry | None = None


class _DecisionsFile(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    format: Literal[1]
    run: str
    verdicts: list[_Entry]


@dataclass(frozen=True)
class ReviewDecisions:
    """Content of a decisions file.

    Attributes:
        url: Path or URL of the file, for messages.
        run: Fingerprint of the reviewed run.
        images: Decisions on whole images.
        regions: Decisions on regions by image, then by rank.
        ids: Image ids of all images with any decision.
        listed: Number of listed regions of these images, as far as known.
    """

    url: str
    run: str
    images: Mapping[ImageKey, str]
    regions: Mapping[ImageKey, Mapping[int, str]]
    ids: Mapping[ImageKey, str]
    listed: Mapping[ImageKey, int]

    def for_region(self, key: ImageKey, rank: int) -> str | None:
        """Return the decision on a region: on the region, or else on its image, or else None."""
        return self.regions.get(key, {}).get(rank, self.images.get(key))

    def for_image(self, key: ImageKey) -> str | None:
        """Combine the decisions on an image and its regions.

        Args:
            key: Source name and image index.

        Returns:
            `accept` if the image or any region is accepted; or else the decision on the image; or else, if all listed
            regions are decided, `reject` if all are rejected and `unsure` otherwise; `partial` if only some are
            decided. None without any decision.
        """
        region_decisions = self.regions.get(key, {}).values()
        whole = self.images.get(key)
        if ACCEPT in region_decisions or whole == ACCEPT:
            return ACCEPT
        if whole is not None or not region_decisions:
            return whole
        if len(region_decisions) != self.listed.get(key):
            return PARTIAL
        return UNSURE if UNSURE in region_decisions else REJECT

    def count_listed(self, run: CompletedRun) -> ReviewDecisions:
        """Return the decisions with the numbers of listed regions that the reviewed run's table of regions has."""
        listed = Counter(dict.fromkeys(self.ids, 0))
        for table in run.region_tables(["source", "index"]):
            keys = zip(table["source"].to_pylist(), table["index"].to_pylist(), strict=True)
            listed.update(key for key in keys if key in self.ids)
        return replace(self, listed=listed)

    def check_run(self, fingerprint: str, url: str) -> None:
        """Raise UsageError unless the decisions are about the run with this fingerprint."""
        if self.run != fingerprint:
            raise UsageError(
                f"{self.url} holds decisions on run {self.run[:12]}, but the run at {url} is {fingerprint[:12]}",
                "Ranks identify other regions there",
                "Pass the reviewed run, or the decisions on this run",
            )


class RegionCheck:
    """Check, while a run's table of regions is read, that the decisions are about regions of that run.

    Args:
        run: The run.
        decisions: Decisions on it. Another run raises UsageError, an image that the run lacks DataError.
    """

    def __init__(self, run: CompletedRun, decisions: ReviewDecisions) -> None:
        decisions.check_run(run.record["fingerprint"], run.context.out)
        self._url = decisions.url
        for source, index in decisions.ids:
            images = run.tasks.sources[run.source_index[source]].images if source in run.source_index else 0
            if index >= images:
                raise DataError(
                    f"{self._url} mentions image {index} of {source}, but the run has {images:,} images of it",
                    _UNMODIFIED,
                )
        self._images: dict[int, set[ImageKey]] = {}
        for key, ranks in decisions.regions.items():
            for rank in ranks:
                self._images.setdefault(rank, set()).add(key)

    def add(self, rank: int, key: ImageKey) -> None:
        """Check a row of the table. Decisions that assign its rank to another image raise DataError."""
        if others := self._images.pop(rank, set()) - {key}:
            source, index = min(others)
            raise DataError(
                f"{self._url} assigns region {rank:,} to image {index} of {source}, "
                f"but it belongs to image {key[1]} of {key[0]}",
                _UNMODIFIED,
            )

    def finish(self, total: int) -> None:
        """Raise DataError if a decision is about none of the ``total`` rows."""
        if self._images:
            raise DataError(
                f"{self._url} mentions region {min(self._images):,}, but the run lists {total:,}", _UNMODIFIED
            )


def load_decisions(url: str, options: Mapping[str, Any]) -> ReviewDecisions:
    """Read a decisions file, whose last entry on an image or region counts; raises DataError if it is invalid."""
    directory, name = split_url(url)
    data = ObjectDirectory(directory, options).read(name)
    if data is None:
        raise DataError(f"{url} does not exist", "Pass the path or URL of a file saved by the report page")
    try:
        content = _DecisionsFile.model_validate(parse_json(data), strict=True)
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        location = ".".join(map(str, first["loc"]))
        reason = f"{location}: {first['msg'].rstrip('.')}" if location else "not a JSON object"
        raise DataError(*_invalid_file(url, reason)) from e
    except ValueError as e:
        raise DataError(*_invalid_file(url, str(e))) from e
    images: dict[ImageKey, str] = {}
    regions: dict[ImageKey, dict[int, str]] = {}
    ids: dict[ImageKey, str] = {}
    listed: dict[ImageKey, int] = {}
    for entry in content.verdicts:
        key = (entry.source, entry.index)
        ids[key] = entry.image_id
        if entry.listed_regions is not None:
            listed[key] = entry.listed_regions
        if entry.region is None:
            images[key] = entry.verdict
        else:
            regions.setdefault(key, {})[entry.region.rank] = entry.verdict
    return ReviewDecisions(url, content.run, images, regions, ids, listed)


def _invalid_file(url: str, reason: str) -> tuple[str, str]:
    return f"{url} is not a decisions file ({reason})", _UNMODIFIED
