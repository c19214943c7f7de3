"""Windows of decoded predictions: bands of stored rows that are read once, and enough for every window."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from masksift.core.specs import ArraySpec, Decoding, ReadWindow
from masksift.engine.prediction_io import _RowBands, _source_rows, _stored_windows


def resized(rows: int, chunk_rows: int, height: int, images: int = 4) -> ArraySpec:
    """Describe predictions of ``height`` rows that are stored in ``rows`` rows, in chunks."""
    stored = ArraySpec("a", (images, 2, rows, 5), (2, 2, chunk_rows, 3), "float32", 4, (0, 1, 2, 3))
    return ArraySpec("a", (images, 2, height, 20), (2, 2, 1, 20), "float32", 4, (0, 1, 2, 3), decoding=Decoding(stored))


@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 60), st.integers(1, 30))
def test_bands_are_whole_chunks_read_once_that_cover_the_rows_of_each_window(
    rows: int, chunk_rows: int, extra: int, window_rows: int
) -> None:
    array = resized(rows, min(chunk_rows, rows), rows + extra)
    height, chunk_rows = array.shape[2], array.stored.chunks[2]
    windows = [
        ReadWindow(start, start + 2, y, min(height, y + window_rows), 0, 20)
        for start in (0, 2)
        for y in range(0, height, window_rows)
    ]
    bands, read, stop = _RowBands(array), list[ReadWindow](), 0
    for window in windows:
        if (band := bands.advance_to(window)) is not None:
            read.append(band)
            stop = band.y1
        first, last = _source_rows(array, window)
        assert bands.first <= first < last <= stop
    assert read == list(_stored_windows(array, windows))
    for start in (0, 2):
        edges = [(band.y0, band.y1) for band in read if band.start == start]
        assert (edges[0][0], edges[-1][1]) == (0, rows)
        assert all(before[1] == after[0] and after[0] % chunk_rows == 0 for before, after in pairwise(edges))


def test_windows_of_equal_size_are_read_as_they_are() -> None:
    stored = ArraySpec("a", (4, 8, 20), (2, 8, 20), "float32", 4, (0, 1, 2))
    array = ArraySpec("a", (4, 2, 8, 20), (2, 2, 8, 20), "float32", 4, (0, 1, 2, 3), decoding=Decoding(stored))
    windows = [ReadWindow(0, 2, 0, 8, 0, 20), ReadWindow(2, 4, 0, 8, 0, 20)]
    assert list(_stored_windows(array, windows)) == windows
