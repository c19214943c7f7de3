"""What is known to be wrong, in one of four forms: what `masksift simulate` changed, a list of images, the verdicts of
reviewers, or the same labels as somebody has corrected them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from masksift.core.errors import DataError, UsageError
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.evaluation.evaluate.config import EvaluateConfig
from masksift.review.decisions import ACCEPT, REJECT, UNSURE, ReviewDecisions, load_decisions
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.dataset import find_sources
from masksift.storage.sources.naming import source_names
from masksift.storage.sources.open import open_plane
from masksift.storage.tables.image_lists import ImageList, of_keys, read_image_list, read_simulated_list
from masksift.storage.urls import join

SIMULATED = "simulate.json"
"""By this file a folder of `masksift simulate` is known."""


@dataclass(frozen=True)
class Masks:
    """Where it stands which pixels are wrong: ``arrays``, one (image, y, x) a source of the run. ``corrected``: they
    hold labels, which are compared with those of the run; else they are not 0 where a label is wrong. ``strict``: of
    each, whether an absent chunk is lost data."""

    arrays: tuple[ArraySpec, ...]
    strict: tuple[bool, ...]
    corrected: bool


@dataclass(frozen=True)
class Truth:
    """What is wrong. ``form``: in words; ``images``: which images, None where their pixels alone say so; ``masks``:
    which pixels, None where that is not known; ``reviewed``: the images of which it is known whether they are wrong,
    None for all; ``notes``: what must be known of it, a sentence each."""

    form: str
    images: ImageList | None
    masks: Masks | None
    reviewed: ImageList | None = None
    notes: tuple[str, ...] = ()


def open_truth(
    config: EvaluateConfig, sources: Sequence[SourceSpec], names: set[str], options: Mapping[str, Any], run: str
) -> Truth:
    """The truth at the places that the configuration names, about the ``sources`` of the ``run`` of that fingerprint;
    ``names``: what those are called in its results. Reads metadata and lists. Raises DataError, UsageError."""
    place = config.truth[0]
    if len(config.truth) == 1:
        if place.lower().endswith(".json"):
            return _reviewed(load_decisions(place, options), names, run)
        if place.lower().endswith((".csv", ".parquet")):
            return Truth(f"images listed in {place}", read_image_list(place, config.column, options), None)
        folder = ObjectDirectory(place, options)
        if folder.read(SIMULATED) is not None:
            images = read_simulated_list(folder, names)
            masks = _simulated_masks(place, sources, options) if images.by_place else None
            return Truth(f"changes of `masksift simulate` in {place}", images, masks)
    return Truth(f"corrected labels in {', '.join(config.truth)}", None, _corrected(config, sources, options))


def _reviewed(verdicts: ReviewDecisions, names: set[str], run: str) -> Truth:
    """Images that were accepted are wrong, those that were rejected right; nothing is known of all others. By source
    and number where the run has these sources, else by id. Raises DataError where an id stands for several images."""
    said = {place: verdicts.for_image(place) for place in verdicts.ids}
    by_place = {source for source, _ in said} <= names
    if not by_place and len(set(verdicts.ids.values())) < len(said):
        ((twice, _),) = Counter(verdicts.ids.values()).most_common(1)
        raise DataError(
            f"{verdicts.url} is about several images called {twice!r}, and the run has other sources",
            "which of its images they are is not known",
            "Give image ids that occur once, or a run of these sources",
        )

    def those(*wanted: str) -> ImageList:
        places = [place for place, verdict in said.items() if verdict in wanted]
        return of_keys([f"{s}/{i}" if by_place else verdicts.ids[s, i] for s, i in places], by_place=by_place)

    notes = [
        "Images that were not reviewed count nowhere: where the ranking was reviewed from its top, recall is that "
        "among the images reviewed, and precision is not that of the images further down."
    ]
    if unsure := sum(verdict == UNSURE for verdict in said.values()):
        notes.insert(0, f"Of the images reviewed {unsure:,} are unsure, and count nowhere.")
    if verdicts.run != run:
        notes.append(f"The verdicts are on the run {verdicts.run[:12]}, whose labels may have been others.")
    return Truth(f"verdicts in {verdicts.url}", those(ACCEPT), None, those(ACCEPT, REJECT), tuple(notes))


def _simulated_masks(place: str, sources: Sequence[SourceSpec], options: Mapping[str, Any]) -> Masks:
    urls = [join(place, "labels", f"{spec.name}.zarr") for spec in sources]
    # every chunk of them was written: one that is not there was lost, and means nothing
    return _like(sources, [open_plane(url, "truth", None, (), options) for url in urls], corrected=False)


def _corrected(config: EvaluateConfig, sources: Sequence[SourceSpec], options: Mapping[str, Any]) -> Masks:
    urls = find_sources(config.truth, options)
    if len(urls) != len(sources):
        raise UsageError(
            f"{', '.join(config.truth)} names {len(urls)} groups of corrected labels, and the run is of "
            f"{len(sources)} sources",
            "which belongs to which is not known",
            "Give one a source, under its name or in the run's order",
        )
    by_name = dict(zip(source_names(urls), urls, strict=True))
    if set(by_name) == {spec.name for spec in sources}:  # whatever the order in which they were given
        urls = [by_name[spec.name] for spec in sources]
    name, axes = config.arrays.labels, config.arrays.labels_axes
    found = [open_plane(url, name, axes, spec.ignore, options) for url, spec in zip(urls, sources, strict=True)]
    return _like(sources, found, corrected=True)


def _like(sources: Sequence[SourceSpec], found: Sequence[tuple[ArraySpec, bool]], *, corrected: bool) -> Masks:
    """The arrays. Raises DataError where one has another shape than the labels of its source."""
    for spec, (array, _) in zip(sources, found, strict=True):
        if array.shape != spec.labels.shape:
            n, height, width = array.shape
            raise DataError(
                f"{array.url} holds {n} images of {height} x {width}, and the labels of {spec.name} are {spec.images} "
                f"of {spec.height} x {spec.width}",
                "which pixel belongs to which cannot be known",
                "Give arrays of one size, under the names of the run's sources or in their order",
            )
    return Masks(tuple(array for array, _ in found), tuple(strict for _, strict in found), corrected)
