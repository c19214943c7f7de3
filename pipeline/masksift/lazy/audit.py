"""`masksift.lazy.audit`: the graph of an audit, from chunks of images to Dask collections."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from operator import add
from typing import Any

import numpy as np
from dask import array as da
from dask.base import persist, tokenize
from dask.delayed import delayed

from masksift.array_batches import AuditSettings, make_config, make_settings
from masksift.core.errors import DataError, UsageError
from masksift.engine.work_items import PairCounts
from masksift.lazy import blocks
from masksift.prepare.inputs import check_predictions, prediction_members
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.storage.tables.schemas import images_schema, unranked_regions_schema

_FAN_IN = 16
"""Values that a task of a reduction merges."""


def audit(
    labels: Any,
    pred_probs: Any,
    *,
    class_names: Sequence[str] | None = None,
    image_ids: Sequence[str] | None = None,
    kind: str = "probabilities",
    scale: float | None = None,
    **options: Any,
) -> LazyAudit:
    """Audit Dask or xarray arrays lazily: the numbers of `masksift.audit` and `masksift run`, bit for bit.

    A chunk of images is a task. Each prediction is read once, and 3 to 9 bytes per pixel stay in the memory of the
    workers while a result is computed. Any scheduler of Dask computes it; compute several results together
    (`dask.compute(found.scores, found.issue_masks)`), or `persist` first, to condense once.

    Args:
        labels: Dask array (N, H, W) of integers, or an xarray DataArray of one; its chunks of images follow those of
            the predictions.
        pred_probs: Dask array (N, K, H, W), or (N, H, W) or (N, 1, H, W) of the positive class of two, or an xarray
            DataArray of one. A chunk must hold whole images.
        class_names: Names of the K classes. Default: as in `masksift.audit`.
        image_ids: Ids of the N images. Default: their indices.
        kind: "probabilities" or "logits".
        scale: Probability of one step of integer predictions. Default: 1/255, 1/65535.
        options: ``ignore``, ``methods``, ``sum_tolerance``, ``evidence_dtype``, ``temperature``, ``tau``, ``rule`` and
            ``min_area`` of `masksift.audit`, with the same defaults.

    Returns:
        The lazy audit.

    Raises:
        DataError: If shapes, dtypes or chunks do not fit; the message has the call of `rechunk` to make.
        UsageError: If a parameter is out of range.
    """
    predictions, given = _as_dask(pred_probs, "pred_probs", (3, 4)), _as_dask(labels, "labels", (3,))
    _check_shapes(given, predictions)
    _check_chunks(predictions, "pred_probs")
    chunks = predictions.chunks[0]
    given = given.rechunk({0: chunks, 1: -1, 2: -1})
    example = np.zeros((1, *predictions.shape[1:-2], 1, 1), predictions.dtype)
    members = prediction_members(example, kind, scale)
    config = make_config([member.name for member in members], kind=kind, scale=scale, **options)
    check_predictions("pred_probs", members[0].stored_dtype, kind, scale)
    settings = make_settings(config, members, members[0].shape(0)[0], class_names)
    count = len(given)
    ids = tuple(map(str, range(count))) if image_ids is None else tuple(map(str, image_ids))
    if len(ids) != count:
        raise DataError(f"There are {len(ids)} image ids for {count} images", "Pass one id per image")
    token = tokenize(given, predictions, settings.config.model_dump(mode="json"), settings.class_names, ids)
    shared = delayed(settings, name=f"masksift-settings-{token}", traverse=False)
    condensed = [
        delayed(blocks.condense)(one, other, shared, dask_key_name=f"masksift-condense-{token}-{i}")
        for i, (one, other) in enumerate(zip(given.to_delayed().ravel(), predictions.to_delayed().ravel(), strict=True))
    ]
    return LazyAudit(settings, ids, chunks, given.shape, token, tuple(condensed), shared)


@dataclass(frozen=True)
class LazyAudit:
    """Results of `masksift.lazy.audit` as Dask collections.

    Attributes:
        settings: Settings of the audit.
        image_ids: Ids of the images.
        image_chunks: Number of images of each chunk.
        shape: Shape (N, H, W) of the labels.
        token: Part of the keys of all tasks, which the input and the settings decide.
        condensed: The condensed images of each chunk, delayed.
        shared: The settings, as one object of the graph.
    """

    settings: AuditSettings
    image_ids: tuple[str, ...]
    image_chunks: tuple[int, ...]
    shape: tuple[int, ...]
    token: str
    condensed: tuple[Any, ...]
    shared: Any

    def __repr__(self) -> str:
        classes = len(self.settings.class_names)
        return f"LazyAudit({self.shape[0]} images in {len(self.image_chunks)} chunks, {classes} classes)"

    def persist(self, **kwargs: Any) -> LazyAudit:
        """Condense all images now, in the memory of the workers, and return the audit of what is kept there.

        Args:
            kwargs: Arguments of `dask.persist`.

        Returns:
            The audit, whose results start from the condensed images.
        """
        return replace(self, condensed=persist(*self.condensed, **kwargs))

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the columns of `scores`."""
        return tuple(self.settings.config.score_methods)

    @property
    def thresholds(self) -> Any:
        """Thresholds of each class as an Arrow table, delayed: a tree reduction over all images."""
        return self._task(blocks.thresholds_table, "thresholds-table", self._statistics, self._limits, self.shared)

    @cached_property
    def scores(self) -> da.Array:
        """Scores (N, methods) float64, NaN where an image is not scored; `score_names` has their names.

        The score ``combined`` depends on the ranking of all images, so that their table is made by one task.
        """
        names, table = self.score_names, self._images
        parts = [
            self._task(blocks.slice_scores, f"scores-{i}", table, first, stop, names)
            for i, (first, stop) in enumerate(self._ranges)
        ]
        return self._stack(parts, (len(names),), np.float64)

    @cached_property
    def issue_masks(self) -> da.Array:
        """Issue masks (N, H, W) bool, True where the label is flagged."""
        parts = [
            self._task(blocks.masks, f"masks-{i}", one, self._limits, self.shared)
            for i, one in enumerate(self.condensed)
        ]
        return self._stack(parts, self.shape[1:], np.bool_)

    @cached_property
    def regions(self) -> Any:
        """Regions as a Dask data frame, a partition for each chunk: sort by ``priority`` for the worst first.

        The columns are those of `masksift.Audit.regions` without ``rank``.
        """
        return self._frame(
            [self._task(blocks.to_frame, f"regions-frame-{i}", one) for i, one in enumerate(self._regions)],
            unranked_regions_schema(),
        )

    @cached_property
    def images(self) -> Any:
        """One row per image as a Dask data frame: id, status, reason, scores, flagged pixels, worst pair and region."""
        parts = [
            self._task(blocks.to_frame, f"images-frame-{i}", self._images, first, stop)
            for i, (first, stop) in enumerate(self._ranges)
        ]
        return self._frame(parts, images_schema(self.settings.config.score_methods, ()))

    @property
    def _ranges(self) -> list[tuple[int, int]]:
        ends = np.cumsum((0, *self.image_chunks)).tolist()
        return list(pairwise(ends))

    @cached_property
    def _statistics(self) -> Any:
        parts = [self._task(blocks.statistics, f"statistics-{i}", one) for i, one in enumerate(self.condensed)]
        return self._reduce(ClassStatistics.merge, parts, "statistics")

    @cached_property
    def _limits(self) -> Any:
        confident: Any = 0
        low_bits: Any = None
        evidence = self.settings.condense_config.evidence
        if evidence.dtype != "uint8":
            confident = self._count(blocks.count_confident, add, "confident", self._statistics)
        if evidence.key_shift:
            key = self._task(blocks.find_key, "key", self._statistics, confident, self.shared)
            low_bits = self._count(blocks.count_low_bits, np.add, "low-bits", key)
        return self._task(blocks.thresholds, "thresholds", self._statistics, confident, low_bits, self.shared)

    def _count(self, function: Callable[..., Any], merge: Callable[[Any, Any], Any], name: str, argument: Any) -> Any:
        parts = [
            self._task(function, f"{name}-{i}", one, argument, self.shared) for i, one in enumerate(self.condensed)
        ]
        return self._reduce(merge, parts, name)

    @cached_property
    def _scored(self) -> list[Any]:
        return [
            self._task(blocks.score, f"score-{i}", one, self._limits, self.image_ids[first:stop], first, self.shared)
            for i, (one, (first, stop)) in enumerate(zip(self.condensed, self._ranges, strict=True))
        ]

    @cached_property
    def _regions(self) -> list[Any]:
        parts = [self._task(blocks.pairs_of, f"pairs-{i}", one) for i, one in enumerate(self._scored)]
        pairs = self._reduce(PairCounts.merge, parts, "pairs")
        return [
            self._task(blocks.regions, f"regions-{i}", one, self._statistics, pairs)
            for i, one in enumerate(self._scored)
        ]

    @cached_property
    def _images(self) -> Any:
        return self._task(blocks.images, "images", self._scored, self._regions, self.shared)

    def _task(self, function: Callable[..., Any], name: str, *args: Any) -> Any:
        stage, _, number = name.rpartition("-")
        # Dask groups tasks by the part of a key before its token
        key = f"masksift-{stage}-{self.token}-{number}" if number.isdecimal() else f"masksift-{name}-{self.token}"
        return delayed(function)(*args, dask_key_name=key)

    def _reduce(self, merge: Callable[[Any, Any], Any], parts: list[Any], name: str) -> Any:
        level = 0
        while len(parts) > 1:
            level += 1
            groups = [parts[i : i + _FAN_IN] for i in range(0, len(parts), _FAN_IN)]
            parts = [
                self._task(blocks.merge, f"merge-{name}-{level}-{i}", merge, group) for i, group in enumerate(groups)
            ]
        return parts[0]

    def _stack(self, parts: list[Any], shape: tuple[int, ...], dtype: Any) -> da.Array:
        arrays = [
            da.from_delayed(part, (count, *shape), dtype=dtype)
            for part, count in zip(parts, self.image_chunks, strict=True)
        ]
        joined: da.Array = da.concatenate(arrays)
        return joined

    def _frame(self, parts: list[Any], schema: Any) -> Any:
        try:
            from dask import dataframe as dd
        except ImportError as e:
            raise UsageError(
                f"Data frames need pandas, which is not installed ({e})", "Run pip install 'masksift[notebook]'"
            ) from e
        return dd.from_delayed(parts, meta=blocks.to_frame(schema.empty_table()), verify_meta=False)


def _as_dask(value: Any, name: str, axes: tuple[int, ...]) -> da.Array:
    """Return the Dask array of an argument, an array or an xarray DataArray of one."""
    array = getattr(value, "data", value) if hasattr(value, "dims") else value
    if not isinstance(array, da.Array):
        raise DataError(
            f"{name} is of type {type(value).__name__}, not a Dask array",
            "Pass one, as dask.array.from_zarr returns it, or use masksift.audit",
        )
    if array.ndim not in axes:
        expected = "(N, H, W)" if axes == (3,) else "(N, K, H, W)"
        raise DataError(f"{name} has shape {array.shape}", f"Pass {expected}")
    if any(map(math.isnan, array.shape)):
        raise DataError(f"{name} has chunks of unknown size", f"Call {name}.compute_chunk_sizes() first")
    return array


def _check_shapes(labels: da.Array, predictions: da.Array) -> None:
    if labels.shape != (predictions.shape[0], *predictions.shape[-2:]) or 0 in labels.shape:
        raise DataError(
            f"labels have shape {labels.shape}, pred_probs {predictions.shape}",
            "Pass labels (N, H, W) and pred_probs (N, K, H, W)",
        )


def _check_chunks(array: da.Array, name: str) -> None:
    """Refuse chunks that split images: an image would need several tasks at once."""
    axes = ("class", "row", "column")[-(array.ndim - 1) :]
    split = [axis for axis, chunks in zip(axes, array.chunks[1:], strict=True) if len(chunks) > 1]
    if split:
        sizes = ", ".join(f"{axis}: -1" for axis in range(1, array.ndim))
        raise DataError(
            f"Chunks of {name} split the {' and '.join(split)} axis: {array.chunks}",
            "A task needs whole images",
            f"Pass {name}.rechunk({{0: 'auto', {sizes}}})",
        )
