"""Known errors: output of `masksift simulate`, a list of images, review decisions, or corrected labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from masksift.core.errors import DataError, UsageError
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.engine.completed_run import CompletedRun
from masksift.evaluation.evaluate.config import EvaluateConfig
from masksift.review.decisions import ACCEPT, PARTIAL, REJECT, UNSURE, ReviewDecisions, load_decisions
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.dataset import find_sources
from masksift.storage.sources.naming import source_names
from masksift.storage.sources.open import open_label_array
from masksift.storage.tables.image_lists import ImageList, image_list_from_keys, read_image_list, read_simulated_list
from masksift.storage.urls import join

SIMULATION_RECORD = "simulate.json"


@dataclass(frozen=True)
class TruthArrays:
    """Arrays that tell which pixels are wrong.

    Attributes:
        arrays: One array (image, y, x) per source of the run.
        absent_is_missing: For each array, whether an absent chunk is lost data.
        corrected: Whether the arrays hold corrected labels; otherwise nonzero pixels are wrong.
    """

    arrays: tuple[ArraySpec, ...]
    absent_is_missing: tuple[bool, ...]
    corrected: bool


@dataclass(frozen=True)
class GroundTruth:
    """Known errors.

    Attributes:
        description: Form and location, for people.
        images: Wrong images; None if they follow from the pixels.
        arrays: Wrong pixels; None if unknown.
        reviewed: Images of which it is known whether they are wrong; None for all.
        notes: Caveats, one sentence each.
    """

    description: str
    images: ImageList | None
    arrays: TruthArrays | None
    reviewed: ImageList | None = None
    notes: tuple[str, ...] = ()


def open_truth(config: EvaluateConfig, run: CompletedRun, names: set[str]) -> GroundTruth:
    """Open the known errors of a run, given the source ``names`` in its tables; reads no pixels."""
    url, options, sources = config.truth[0], run.context.options, run.tasks.sources
    if len(config.truth) == 1:
        if url.lower().endswith(".json"):
            return _truth_from_decisions(load_decisions(url, options), run, names)
        if url.lower().endswith((".csv", ".parquet")):
            return GroundTruth(f"images listed in {url}", read_image_list(url, config.column, options), None)
        directory = ObjectDirectory(url, options)
        if directory.read(SIMULATION_RECORD) is not None:
            images = read_simulated_list(directory, names)
            arrays = _simulated_arrays(url, sources, options) if images.by_place else None
            return GroundTruth(f"changes of `masksift simulate` in {url}", images, arrays)
    arrays = _corrected_arrays(config, sources, options)
    return GroundTruth(f"corrected labels in {', '.join(config.truth)}", None, arrays)


def _truth_from_decisions(decisions: ReviewDecisions, run: CompletedRun, names: set[str]) -> GroundTruth:
    """Take accepted images as wrong and rejected ones as right; nothing is known about the others."""
    same_run = decisions.run == run.context.fingerprint
    if same_run:
        decisions = decisions.count_listed(run)
    by_image = {key: decisions.for_image(key) for key in decisions.ids}
    by_place = {source for source, _ in by_image} <= names  # otherwise by id
    if not by_place and len(set(decisions.ids.values())) < len(by_image):
        ((duplicate, _),) = Counter(decisions.ids.values()).most_common(1)
        raise DataError(
            f"{decisions.url} contains several images with the id {duplicate!r}, and the run has other sources",
            "The decisions cannot be assigned to images",
            "Use unique image ids, or a run of the same sources",
        )

    def select(*wanted: str) -> ImageList:
        keys = [key for key, decision in by_image.items() if decision in wanted]
        return image_list_from_keys(
            [f"{s}/{i}" if by_place else decisions.ids[s, i] for s, i in keys], by_place=by_place
        )

    notes = [
        "Images without a decision are not measured: if the ranking was reviewed from its top, recall refers to the "
        "reviewed images, and precision does not hold for the rest of the ranking."
    ]
    counts = Counter(by_image.values())
    if partial := counts[PARTIAL]:
        notes.insert(
            0,
            f"{partial:,} images are partly reviewed (some of their listed regions are rejected or unsure, the others "
            "have no decision) and are not measured.",
        )
    if unsure := counts[UNSURE]:
        notes.insert(0, f"{unsure:,} reviewed images are marked unsure and are not measured.")
    if not same_run:
        notes.append(f"The decisions refer to the run {decisions.run[:12]}, whose labels may differ.")
    return GroundTruth(f"decisions in {decisions.url}", select(ACCEPT), None, select(ACCEPT, REJECT), tuple(notes))


def _simulated_arrays(url: str, sources: Sequence[SourceSpec], options: Mapping[str, Any]) -> TruthArrays:
    urls = [join(url, "labels", f"{spec.name}.zarr") for spec in sources]
    # a simulation writes every chunk: no fill value excuses an absent one
    return _check_shapes(sources, [open_label_array(url, "truth", None, (), options) for url in urls], corrected=False)


def _corrected_arrays(config: EvaluateConfig, sources: Sequence[SourceSpec], options: Mapping[str, Any]) -> TruthArrays:
    urls = find_sources(config.truth, options)
    if len(urls) != len(sources):
        raise UsageError(
            f"{', '.join(config.truth)} matches {len(urls)} groups of corrected labels, but the run has {len(sources)} "
            "sources",
            "Pass one group per source, with the source's name or in the order of the run",
        )
    by_name = dict(zip(source_names(urls), urls, strict=True))
    if set(by_name) == {spec.name for spec in sources}:
        urls = [by_name[spec.name] for spec in sources]
    name, axes = config.arrays.labels, config.arrays.labels_axes
    arrays = [open_label_array(url, name, axes, spec.ignore, options) for url, spec in zip(urls, sources, strict=True)]
    return _check_shapes(sources, arrays, corrected=True)


def _check_shapes(
    sources: Sequence[SourceSpec], arrays: Sequence[tuple[ArraySpec, bool]], *, corrected: bool
) -> TruthArrays:
    """Check that the arrays have the shapes of the labels. Raises DataError."""
    for spec, (array, _) in zip(sources, arrays, strict=True):
        if array.shape != spec.labels.shape:
            n, height, width = array.shape
            raise DataError(
                f"{array.url} has {n} images of {height} x {width}, but the labels of {spec.name} are {spec.images} of "
                f"{spec.height} x {spec.width}",
                "Use arrays of equal size, with the names of the run's sources or in their order",
            )
    return TruthArrays(tuple(array for array, _ in arrays), tuple(missing for _, missing in arrays), corrected)
