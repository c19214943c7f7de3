"""Read the predictions of a block window by window, and decode stored numbers that are no predictions yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.specs import ArraySpec, EnsembleMember, Packing, ReadWindow, SourceSpec
from masksift.core.status import ImageStatus
from masksift.engine.block_io import (
    BufferPool,
    iter_label_windows,
    read_ahead,
    read_window,
    record_status,
    valid_slices,
    window_to_slices,
)
from masksift.engine.planning.layout import Layout
from masksift.scoring.kernels.decode import add_background, resize_rows, source_rows, unpack
from masksift.storage.zarr.reader import ArrayReader

ReadResult = list[tuple[int, int, NDArray[Any] | ImageStatus]]


def prefetch_block(
    spec: SourceSpec, layout: Layout, predictions: Sequence[ArrayReader], labels: ArrayReader, start: int, stop: int
) -> None:
    """Announce the windows of images [start, stop) that the readers will be asked for."""
    ranges = list(layout.chunk_ranges(start, stop))
    for array, reader in zip(spec.prediction_arrays, predictions, strict=True):
        windows = chain.from_iterable(layout.windows(*images, spec.height, spec.width) for images in ranges)
        reader.prefetch(window_to_slices(window, _classes(array.stored)) for window in _stored_windows(array, windows))
    labels.prefetch(window_to_slices(window) for images in ranges for window in iter_label_windows(spec, *images))


def iter_prediction_windows(
    spec: SourceSpec,
    layout: Layout,
    readers: Sequence[ArrayReader],
    buffers: BufferPool,
    start: int,
    sizes: NDArray[np.int64],
    statuses: dict[int, ImageStatus],
) -> Iterator[tuple[ReadWindow, int, int, NDArray[Any]]]:
    """Yield predictions without padding, each window once, members in order.

    Args:
        spec: The source.
        layout: Its layout.
        readers: Reader of each member, or one in all.
        buffers: Buffers for windows.
        start: First image.
        sizes: Unpadded (rows, columns) of each image, (n, 2).
        statuses: Statuses of quarantined images, to which unreadable ones are added.

    Yields:
        Window, member, first image, and predictions (m, K, h, w): of several images where they need no decoding and
        have no padding, which may include quarantined ones.
    """
    members: Sequence[SourceSpec | EnsembleMember] = spec.members or (spec,)
    decoders = [
        None
        if member.predictions.decoding is None
        else WindowDecoder(member.predictions, member.prediction_kind, member.scale, reader, buffers, number)
        for number, (member, reader) in enumerate(zip(members, readers, strict=True))
    ]

    def read(item: tuple[ReadWindow, int], slot: int) -> ReadResult:
        window, member = item
        if (decoder := decoders[member]) is not None:
            return decoder.read(window, slot)
        images, *area = window.shape
        array = members[member].predictions
        buffer = buffers.get(f"predictions {slot}", (images, spec.classes, *area), array.dtype)
        return read_window(readers[member], array.chunks[0], window, buffer)

    is_whole = (sizes == (spec.height, spec.width)).all(axis=1)
    windows = layout.windows(start, start + len(sizes), spec.height, spec.width)
    items = ((window, member) for window in windows for member in range(len(readers)))
    for (window, member), results in read_ahead(read, items):
        decoder = decoders[member]
        for first, last, stored in results:
            if isinstance(stored, ImageStatus):
                for i in range(first, last):
                    record_status(statuses, i, stored)
            elif decoder is None and is_whole[first - start : last - start].all():
                yield window, member, first, stored
            else:
                for i in range(first, last):
                    if i not in statuses:
                        values = stored[i - first] if decoder is None else decoder.decode(stored[i - first], window)
                        predictions = values[:, *valid_slices(window, sizes[i - start])]
                        if predictions.size:
                            yield window, member, i, predictions[np.newaxis]


class WindowDecoder:
    """Read the windows of one prediction array, and decode them image by image.

    Args:
        array: The predictions, with their decoding.
        prediction_kind: "probabilities" or "logits".
        scale: Probability of one step of integers.
        reader: Reader of the stored array.
        buffers: Buffers for windows.
        number: Number of the array among the members of an ensemble.
    """

    def __init__(
        self,
        array: ArraySpec,
        prediction_kind: str,
        scale: float,
        reader: ArrayReader,
        buffers: BufferPool,
        number: int,
    ) -> None:
        assert array.decoding is not None
        self._array, self._decoding, self._reader = array, array.decoding, reader
        self._kind, self._scale, self._buffers, self._number = prediction_kind, scale, buffers, number
        self._bands = _RowBands(array)
        self._rows, self._slot = np.empty(0, array.stored.dtype), 0

    def read(self, window: ReadWindow, slot: int) -> ReadResult:
        """Read the stored numbers (n, classes, h, w) or (n, h, w) of a window of the predictions."""
        stored = self._array.stored
        if self._array.is_resized:
            return self._read_rows(window)
        buffer = self._buffers.get(f"predictions {slot}", _buffer_shape(stored, window), stored.dtype)
        return read_window(self._reader, stored.chunks[0], window, buffer)

    def _read_rows(self, window: ReadWindow) -> ReadResult:
        """Return the stored rows of a window. Rows read before are kept as long as a later window needs them."""
        stored, bands = self._array.stored, self._bands
        held, held_first = self._rows, bands.first
        band = bands.advance_to(window)
        if band is None:
            results: ReadResult = [(window.start, window.stop, self._rows)]
        else:
            self._slot = 1 - self._slot  # the caller still uses the rows of the window before
            shape = _buffer_shape(stored, replace(band, y0=bands.first))
            self._rows = self._buffers.get(f"rows {self._number} {self._slot}", shape, stored.dtype)
            kept = band.y0 - bands.first
            if kept:
                self._rows[..., :kept, :] = held[..., bands.first - held_first :, :]
            buffer = self._buffers.get("band", _buffer_shape(stored, band), stored.dtype) if kept else self._rows
            results = read_window(self._reader, stored.chunks[0], band, buffer)
            for first, last, numbers in results:
                if not isinstance(numbers, ImageStatus) and not np.may_share_memory(numbers, self._rows):
                    self._rows[first - band.start : last - band.start, ..., kept:, :] = numbers
        needed = slice(*(row - bands.first for row in _source_rows(self._array, window)))
        return [
            (first, last, found)
            if isinstance(found, ImageStatus)
            else (first, last, self._rows[first - window.start : last - window.start, ..., needed, :])
            for first, last, found in results
        ]

    def decode(self, numbers: NDArray[Any], window: ReadWindow) -> NDArray[Any]:
        """Return the predictions (K, h, w) of one image, valid until the next call.

        Args:
            numbers: Stored numbers of the image, (classes, h, w) or (h, w).
            window: Window of the predictions.
        """
        array, packing = self._array, self._decoding.packing
        planes = numbers.reshape(-1, *numbers.shape[-2:])
        if packing is not None:
            planes = planes.view(packing.dtype)
        unpacked = packing is not None and packing != Packing(packing.dtype)
        if not (unpacked or array.is_resized or self._decoding.is_binary):
            return planes
        out = self._buffers.get("decoded", (array.shape[1], *window.shape[1:]), array.dtype)
        values = out[1:] if self._decoding.is_binary else out
        if array.is_resized:
            buffer = self._buffers.get("unpacked", planes.shape, np.float32)
            planes = unpack(planes, packing if unpacked else None, buffer)
            first, _ = _source_rows(array, window)
            resize_rows(planes, first, array.stored.shape[-2:], array.shape[2:], window.y0, values)
        elif unpacked:
            unpack(planes, packing, values)
        else:
            values[...] = planes
        if self._decoding.is_binary:
            add_background(values[0], self._kind, self._scale, out)
        return out


class _RowBands:
    """Bands of whole chunks of stored rows, each read once, from which the windows of resized images are computed.

    Attributes:
        first: First stored row that the last window, and so any later one, needs.
    """

    def __init__(self, array: ArraySpec) -> None:
        self._array = array
        self.first, self._stop, self._images = 0, 0, -1

    def advance_to(self, window: ReadWindow) -> ReadWindow | None:
        """Return the band of stored rows to read for the next window, or None if its rows were read before."""
        chunk_rows, (rows, columns) = self._array.stored.chunks[-2], self._array.stored.shape[-2:]
        if window.start != self._images:
            self._images, self._stop = window.start, 0
        first, last = _source_rows(self._array, window)
        if last <= self._stop:
            return None
        start, self.first, self._stop = self._stop, first, min(rows, -(-last // chunk_rows) * chunk_rows)
        return ReadWindow(window.start, window.stop, start, self._stop, 0, columns)


def _stored_windows(array: ArraySpec, windows: Iterable[ReadWindow]) -> Iterator[ReadWindow]:
    """Yield the windows of the stored array that are read for windows of the predictions."""
    if not array.is_resized:
        yield from windows
        return
    bands = _RowBands(array)
    for window in windows:
        if (band := bands.advance_to(window)) is not None:
            yield band


def _source_rows(array: ArraySpec, window: ReadWindow) -> tuple[int, int]:
    """Return the stored rows [first, last) from which a window of resized predictions is computed."""
    return source_rows(window.y0, window.y1, array.stored.shape[-2], array.shape[2])


def _classes(stored: ArraySpec) -> int | None:
    """Return the classes of a stored array, None without a class axis."""
    return stored.shape[1] if len(stored.shape) == 4 else None


def _buffer_shape(stored: ArraySpec, window: ReadWindow) -> tuple[int, ...]:
    """Return the shape of a window of a stored array."""
    images, *area = window.shape
    return (images, *stored.shape[1:-2], *area)
