"""What reviewers have said of a run's images and regions: the file that the report page lets them download.

JSON, one object: ``format`` (1), ``run`` (the fingerprint of the run that was reviewed) and ``verdicts``, a list of

    {"verdict": "accept" | "reject" | "unsure", "image_id": str, "source": str, "index": int, "region": null | {...}}

`accept`: the label is wrong, as was found; `reject`: it is right; `unsure`: nothing is said. Without a region a verdict
is on the whole image, and on all of its regions that have none of their own. A region is told by its row in the run's
table of regions: ``rank``, and, so that the file can be read by itself, ``kind``, ``given``, ``suggested`` (names, null
of an omission's given class), ``area``, ``y0``, ``x0``, ``y1``, ``x1``. Further members are let pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from masksift.core.errors import DataError
from masksift.storage.objects import ObjectDirectory

ACCEPT, REJECT, UNSURE = "accept", "reject", "unsure"

ImageKey = tuple[str, int]
"""The name of a source and the number of an image in it."""


class _Region(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    rank: int = Field(ge=1)


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    verdict: Literal["accept", "reject", "unsure"]
    image_id: str
    source: str
    index: int = Field(ge=0)
    region: _Region | None = None


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    format: Literal[1]
    run: str
    verdicts: list[_Said]


@dataclass(frozen=True)
class ReviewDecisions:
    """What a file of verdicts says. ``run``: the fingerprint of the run; ``images``: by image, whose ids are in
    ``ids``; ``regions``: by image, and by the rank of a region of it."""

    url: str
    run: str
    images: Mapping[ImageKey, str]
    regions: Mapping[ImageKey, Mapping[int, str]]
    ids: Mapping[ImageKey, str]

    def for_region(self, place: ImageKey, rank: int) -> str | None:
        """What is said of a region, by itself or with its image; None where nothing is."""
        return self.regions.get(place, {}).get(rank, self.images.get(place))

    def of_image(self, place: ImageKey) -> str | None:
        """What is said of an image: `accept` where it, or any region of it, is accepted; else `reject` where it, or
        every region that something is said of, is rejected; else `unsure`. None where nothing is said."""
        said = set(self.regions.get(place, {}).values())
        whole = self.images.get(place)
        if ACCEPT in said or whole == ACCEPT:
            return ACCEPT
        if whole is not None:
            return whole
        return None if not said else REJECT if said == {REJECT} else UNSURE


def load_decisions(url: str, options: Mapping[str, Any]) -> ReviewDecisions:
    """The verdicts of a file. Of several on one image or region the last counts. Raises DataError where there is no
    such file, or it is none of verdicts."""
    parent, slash, name = url.rpartition("/")
    data = ObjectDirectory(parent or slash or ".", options).read(name)
    if data is None:
        raise DataError(
            f"there is no file {url}",
            "what was reviewed is not known",
            "Give the path or the URL of the file that the report page saved",
        )
    try:
        told = _File.model_validate(json.loads(data), strict=True)
    except (UnicodeDecodeError, json.JSONDecodeError) as e:
        raise _no_verdicts(url, str(e)) from e
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        said = f"{where}: {first['msg'].rstrip('.')}" if where else "it holds no object"
        raise _no_verdicts(url, said) from e
    images: dict[ImageKey, str] = {}
    regions: dict[ImageKey, dict[int, str]] = {}
    ids: dict[ImageKey, str] = {}
    for one in told.verdicts:
        place = (one.source, one.index)
        ids[place] = one.image_id
        if one.region is None:
            images[place] = one.verdict
        else:
            regions.setdefault(place, {})[one.region.rank] = one.verdict
    return ReviewDecisions(url, told.run, images, regions, ids)


def _no_verdicts(url: str, why: str) -> DataError:
    return DataError(
        f"{url} is no file of verdicts ({why})",
        "what was reviewed is not known",
        "Give the file that the report page saved, as it is",
    )
