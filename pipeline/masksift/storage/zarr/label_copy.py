"""Write another set of labels for a source, stored like the labels of the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from masksift.core.specs import SourceSpec
from masksift.storage.zarr.per_image import open_array
from masksift.storage.zarr.stores import InstrumentedStore, open_store

TRUTH = "truth"
"""Name of the mask of changed pixels."""


class LabelCopy:
    """Group with a copy of a source's labels.

    Args:
        url: URL of the group.
        spec: The source.
        name: Name of the label array.
        options: Storage options of S3.
        truth: Also store `truth`, (image, y, x) uint8: 1 where labels differ from those of the source.
    """

    def __init__(
        self, url: str, spec: SourceSpec, name: str, options: Mapping[str, Any], *, truth: bool = False
    ) -> None:
        self._spec, self._name, self._options, self._truth = spec, name, options, truth
        self._store = InstrumentedStore(open_store(url, options, read_only=False))
        self._arrays: dict[str, zarr.Array[Any]] = {}

    @property
    def io_counters(self) -> Counter[str]:
        """Store traffic, by field name of `TaskResult`."""
        return self._store.io_counters

    @property
    def images_per_object(self) -> int:
        """Images in one stored object, which must be written together."""
        labels = self._spec.labels
        return min(self._spec.images, (labels.shards or labels.chunks)[0])

    def create(self) -> None:
        """Create missing arrays. Labels get exactly the metadata of the source's labels."""
        labels = self._spec.labels
        attributes: dict[str, Any] = {"class_names": list(self._spec.class_names), "ignore": list(self._spec.ignore)}
        group = zarr.open_group(self._store, mode="a", zarr_format=labels.zarr_format)  # type: ignore[arg-type]
        if group.attrs.asdict() != attributes:
            group.attrs.update(attributes)
        metadata = open_array(labels, self._options).metadata.to_buffer_dict(default_buffer_prototype())
        for key, data in metadata.items():
            sync(self._store.set(f"{self._name}/{key}", data))
        if self._truth and TRUTH not in group:
            v3_options: dict[str, Any] = {"dimension_names": ("image", "y", "x")} if labels.zarr_format == 3 else {}
            group.create_array(
                TRUTH,
                shape=labels.shape,
                dtype="uint8",
                chunks=labels.chunks,
                shards=labels.shards,
                fill_value=0,
                **v3_options,
            )

    def write(
        self, start: int, labels: NDArray[Any], lost: Sequence[int], truth: NDArray[np.uint8] | None = None
    ) -> None:
        """Write images [start, start + n), which must fill whole objects.

        Args:
            start: Number of the first image.
            labels: Labels, (n, H, W).
            lost: Positions in [0, n) of images that are lost in the source; the copy leaves them out, too.
            truth: Mask of changed pixels, (n, H, W).
        """
        if truth is not None:
            self._array(TRUTH)[start : start + len(truth)] = truth
        axes, array = self._spec.labels.axes, self._array(self._name)
        edges = [-1, *sorted(lost), len(labels)]
        for before, after in pairwise(edges):
            if before + 1 < after:
                window = [slice(None)] * array.ndim
                window[axes[0]] = slice(start + before + 1, start + after)
                stored = labels[before + 1 : after].transpose(np.argsort(axes)).astype(array.dtype, copy=False)
                unit_axes = tuple(axis for axis in range(array.ndim) if axis not in axes)
                array[tuple(window)] = np.expand_dims(stored, unit_axes)

    def _array(self, name: str) -> zarr.Array[Any]:
        if name not in self._arrays:
            array = zarr.open_array(self._store, path=name, mode="r+", zarr_format=self._spec.labels.zarr_format)  # type: ignore[arg-type]
            self._arrays[name] = array.with_config({"write_empty_chunks": True})
        return self._arrays[name]
