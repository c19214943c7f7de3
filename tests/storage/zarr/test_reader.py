"""Array reader: exact values for any storage format, an error for every missing or damaged chunk, exact counts."""

from __future__ import annotations

import uuid
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import LocalStore

from masksift.core.errors import DataError
from masksift.core.specs import ArraySpec
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from masksift.storage.zarr.evidence import EVIDENCE_PLANES, EvidenceArrays
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.validation import ChunkDecodeError, MissingChunkError
from support.datasets import Array, Data, make_dataset
from support.errors import raises
from support.sources import (
    CODECS,
    LABEL_AXES,
    PREDICTION_AXES,
    Source,
    erase_chunks,
    flip_bit,
    locate_inner_chunk,
    make_data,
    truncate_file,
    write_source,
)

FORMS: dict[str, dict[str, Any]] = {
    "v2": {"zarr_format": 2},
    "v3": {},
    "tiles": {"chunks": (2, 4, 3, 4), "label_chunks": (2, 3, 4)},
    "sharded": {"shards": (4, 4, 8, 10), "label_shards": (4, 8, 10)},
    "sharded, index first": {"shards": (4, 4, 8, 10), "label_shards": (4, 8, 10), "index_location": "start"},
}
SMALL: dict[str, dict[str, Any]] = {
    "v2": {"zarr_format": 2},
    "v3": {},
    "sharded": {"chunks": (1, 4, 3, 3), "shards": (2, 4, 3, 3)},
    "sharded, index first": {"chunks": (1, 4, 3, 3), "shards": (2, 4, 3, 3), "index_location": "start"},
}
form = pytest.mark.parametrize("form", FORMS)
sharded = pytest.mark.parametrize("form", ["sharded", "sharded, index first"])


def codecs_for(form: str) -> list[str]:
    return [codec for codec in CODECS if codec != "crc32c" or form != "v2"]  # Zarr v2 has no crc32c


def specs(source: Source, **overrides: Any) -> tuple[ArraySpec, ArraySpec]:
    spec = open_source(str(source), Overrides(**overrides), {})
    return spec.predictions, spec.labels


def images(start: int, stop: int, data: Data) -> tuple[slice, slice, slice, slice]:
    """Return the window of images [start, stop)."""
    _, classes, height, width = data.predictions.shape
    return slice(start, stop), slice(0, classes), slice(0, height), slice(0, width)


def read_all(spec: ArraySpec, **options: Any) -> Array:
    return ArrayReader(spec, {}, **options).read(*(slice(0, size) for size in spec.shape))


class BufferReader(ArrayReader):
    """Reader that passes a dirty buffer to every read."""

    def read(self, *window: slice, out: Array | None = None) -> Array:
        shape = [part.stop - part.start for part in window]
        return super().read(*window, out=np.full(shape, 77, self._array.dtype.newbyteorder("=")))


Reader = type[ArrayReader]
READERS: list[Reader] = [ArrayReader, BufferReader]
readers = pytest.mark.parametrize("Reader", READERS, ids=["new array", "buffer"])


# ------------------------------------------------------------------------------------------------ values


@st.composite
def stored_data(draw: st.DrawFn) -> tuple[Data, dict[str, Any]]:
    """Draw a small data set and a storage format."""
    shape = [draw(st.integers(low, 7)) for low in (1, 2, 1, 1)]
    dtype = draw(st.sampled_from(["uint8", "uint16", "float16", "float32", "float64"]))
    data = make_dataset(0, images=shape[0], classes=shape[1], height=shape[2], width=shape[3], dtype=dtype)
    chunks = [draw(st.integers(1, size)) for size in shape]
    forms: dict[str, Any] = {
        "zarr_format": draw(st.sampled_from([2, 3])),
        "chunks": chunks,
        "label_chunks": [chunks[0], *chunks[2:]],
        "codec": draw(st.sampled_from(["zstd", "blosc", "gzip", "none"])),
        "order": draw(st.permutations(PREDICTION_AXES)),
        "label_order": draw(st.permutations(LABEL_AXES)),
        "dimension_names": True,
    }
    if forms["zarr_format"] == 3 and draw(st.booleans()):
        forms["shards"] = [draw(st.sampled_from([1, 2, 3])) * size for size in chunks]
        forms["index_location"] = draw(st.sampled_from(["start", "end"]))
    return data, forms


@given(drawn=stored_data(), place=st.data())
@settings(max_examples=40, deadline=None)
def test_window_of_any_format_holds_the_written_values(
    drawn: tuple[Data, dict[str, Any]], place: st.DataObject
) -> None:
    data, forms = drawn
    with TemporaryDirectory() as folder:
        source = write_source(Path(folder) / "s.zarr", data, **forms)
        axes = {"predictions_axes": tuple(forms["order"]), "labels_axes": tuple(forms["label_order"])}
        for spec, values in zip(specs(source, **axes), (data.predictions, data.labels), strict=True):
            edges = [sorted(place.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in values.shape]
            window = tuple(slice(*edge) for edge in edges)
            actual = place.draw(st.sampled_from(READERS))(spec, {}).read(*window)
            np.testing.assert_array_equal(actual, values[window])
            assert actual.dtype == values.dtype
            assert actual.flags.c_contiguous


@readers
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_big_endian_arrays_are_read_in_native_byte_order(tmp_path: Path, Reader: Reader, zarr_format: int) -> None:
    group = zarr.open_group(tmp_path, mode="w", zarr_format=zarr_format)  # type: ignore[arg-type]
    data = make_data()
    group.create_array("predictions", data=data.predictions.astype(">f4"))
    group.create_array("labels", data=data.labels.astype(">i2"))
    predictions, labels = specs(Source(tmp_path))
    assert (predictions.dtype, labels.dtype) == ("float32", "int16")
    for spec, values in ((predictions, data.predictions), (labels, data.labels)):
        actual = Reader(spec, {}).read(*(slice(0, size) for size in spec.shape))
        assert actual.dtype.isnative
        np.testing.assert_array_equal(actual, values)


# ------------------------------------------------------------------------------------------- missing chunks


@readers
@form
def test_absent_chunk_raises_and_other_chunks_are_read(tmp_path: Path, Reader: Reader, form: str) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, **FORMS[form])
    erase_chunks(source.predictions, slice(2, 4))
    reader = Reader(specs(source)[0], {})
    with pytest.raises(MissingChunkError, match=r"chunk .*1.* of .*/s\.zarr/predictions does not exist"):
        reader.read(*images(0, 8, data))
    with pytest.raises(MissingChunkError, match="does not exist"):
        reader.read(*images(3, 4, data))
    for good in (images(0, 2, data), images(4, 8, data)):
        np.testing.assert_array_equal(reader.read(*good), data.predictions[good])


def test_missing_chunks_are_named_in_natural_order(tmp_path: Path) -> None:
    data = make_data(images=24)
    source = write_source(tmp_path / "s.zarr", data, chunks=(1, 4, 8, 10))
    for i in (12, 7, 10):
        source.chunk_file("predictions", i, 0, 0, 0).unlink()
    with pytest.raises(MissingChunkError, match="chunk c/7/0/0/0 of"):
        read_all(specs(source)[0])


@sharded
def test_missing_inner_chunk_is_named_by_its_position_in_the_shard(tmp_path: Path, form: str) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, **FORMS[form])
    erase_chunks(source.predictions, slice(6, 8))
    with pytest.raises(
        MissingChunkError, match=r"inner chunk \(1, 0, 0, 0\) of shard c/1/0/0/0 of .*predictions does not"
    ):
        read_all(specs(source)[0])


@sharded
def test_absent_shard_raises_and_other_shards_are_read(tmp_path: Path, form: str) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, **FORMS[form])
    source.chunk_file("predictions", 1, 0, 0, 0).unlink()
    reader = ArrayReader(specs(source)[0], {})
    with pytest.raises(MissingChunkError, match=r"shard c/1/0/0/0 of .*predictions does not exist"):
        reader.read(*images(0, 8, data))
    np.testing.assert_array_equal(reader.read(*images(0, 4, data)), data.predictions[:4])


@form
def test_absent_chunk_reads_as_the_fill_value_if_allowed(tmp_path: Path, form: str) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, label_fill=255, **FORMS[form])
    erase_chunks(source.labels, slice(2, 4))
    actual = read_all(specs(source)[1], absent_is_missing=False)
    expected = data.labels.copy()
    expected[2:4] = 255
    np.testing.assert_array_equal(actual, expected)


# ---------------------------------------------------------------------------------------- damaged chunks


@readers
@pytest.mark.parametrize(("form", "codec"), [(form, codec) for form in FORMS for codec in codecs_for(form)])
def test_truncated_chunk_raises_and_other_chunks_are_read(
    tmp_path: Path, Reader: Reader, form: str, codec: str
) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, codec=codec, **FORMS[form])
    truncate_file(source.chunk_file("predictions", 0, 0, 0, 0), 0.3)
    reader = Reader(specs(source)[0], {})
    with pytest.raises(
        ChunkDecodeError, match=r"chunk (c/)?0[./]0[./]0[./]0 of .*/s\.zarr/predictions (is trunc|does not dec)"
    ):
        reader.read(*images(0, 2, data))
    with pytest.raises(ChunkDecodeError, match="chunk"):
        reader.read(*images(0, 8, data))
    np.testing.assert_array_equal(reader.read(*images(4, 8, data)), data.predictions[4:8])


@given(
    stored_as=st.sampled_from([(f, c) for f in SMALL for c in codecs_for(f)]),
    share=st.floats(0, 1, exclude_max=True),
    Reader=st.sampled_from(READERS),
)
@settings(max_examples=60, deadline=None)
def test_object_truncated_anywhere_raises(stored_as: tuple[str, str], share: float, Reader: Reader) -> None:
    form, codec = stored_as
    data = make_data(images=2, height=3, width=3)
    with TemporaryDirectory() as folder:
        source = write_source(Path(folder) / "s.zarr", data, codec=codec, **SMALL[form])
        truncate_file(source.chunk_file("predictions", 0, 0, 0, 0), share)
        for start in (0, 1):  # the last inner chunk is read by its byte range
            with pytest.raises(ChunkDecodeError, match="predictions"):
                Reader(specs(source)[0], {}).read(*images(start, 2, data))


@given(codec=st.sampled_from(["gzip", "crc32c"]), place=st.floats(0, 1), bit=st.integers(0, 7), sharded=st.booleans())
@settings(max_examples=40, deadline=None)
def test_flipped_bit_with_a_checksum_raises_or_changes_nothing(
    codec: str, place: float, bit: int, sharded: bool
) -> None:
    data = make_data(images=2, height=3, width=3)
    with TemporaryDirectory() as folder:
        forms = {"shards": (2, 4, 3, 3), "chunks": (1, 4, 3, 3)} if sharded else {}
        source = write_source(Path(folder) / "s.zarr", data, codec=codec, **forms)
        file = source.chunk_file("predictions", 0, 0, 0, 0)
        flip_bit(file, round(place * (file.stat().st_size - 1)), bit)
        with suppress(ChunkDecodeError):  # some bits of the gzip header have no meaning
            np.testing.assert_array_equal(read_all(specs(source)[0]), data.predictions)


@readers
@pytest.mark.parametrize("codec", CODECS)
def test_flipped_bit_in_a_chunk_header_raises_no_other_error(tmp_path: Path, Reader: Reader, codec: str) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, codec=codec)
    spec, file = specs(source)[0], source.chunk_file("predictions", 0, 0, 0, 0)
    good = file.read_bytes()
    reader = Reader(spec, {})
    for byte in range(20):
        flip_bit(file, byte, byte % 8)
        with suppress(ChunkDecodeError):
            assert reader.read(*images(0, 2, data)).shape == (2, 4, 8, 10)
        file.write_bytes(good)


@readers
def test_damaged_inner_chunk_affects_no_other_chunk(tmp_path: Path, Reader: Reader) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, codec="crc32c", **FORMS["sharded"])
    file, offset, size = locate_inner_chunk(source.predictions, (0, 0, 0, 0), (1, 0, 0, 0))
    flip_bit(file, offset + size // 2)
    reader = Reader(specs(source)[0], {})
    np.testing.assert_array_equal(reader.read(*images(0, 2, data)), data.predictions[0:2])
    with pytest.raises(
        ChunkDecodeError, match=r"does not decode \(ValueError: Stored and computed checksum do not match\)"
    ):
        reader.read(*images(2, 4, data))


def test_damaged_shard_index_raises(tmp_path: Path) -> None:
    source = write_source(tmp_path / "s.zarr", **FORMS["sharded"])
    file = source.chunk_file("predictions", 0, 0, 0, 0)
    flip_bit(file, file.stat().st_size - 10)
    with pytest.raises(ChunkDecodeError, match=r"^chunk c/0/0/0/0 of .* does not decode .*checksum"):
        ArrayReader(specs(source)[0], {}).read(*images(0, 2, make_data()))
    file.write_bytes(b"short")
    with pytest.raises(ChunkDecodeError, match=r"chunk c/0/0/0/0 of .* is truncated: 5 bytes where 36 are expected"):
        read_all(specs(source)[0])


@readers
def test_missing_chunk_is_reported_before_a_damaged_one(tmp_path: Path, Reader: Reader) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, chunks=(2, 4, 2, 10))
    for i in range(1, 4):
        truncate_file(source.chunk_file("predictions", 0, 0, i, 0), 0.5)
    for _ in range(5):  # the order of the answers varies
        with pytest.raises(ChunkDecodeError, match=r"^chunk c/0/0/1/0 of .* does not decode"):
            Reader(specs(source)[0], {}).read(*images(0, 2, data))
    source.chunk_file("predictions", 0, 0, 3, 0).unlink()
    for _ in range(5):
        with pytest.raises(MissingChunkError, match=r"^chunk c/0/0/3/0 of .* does not exist"):
            Reader(specs(source)[0], {}).read(*images(0, 2, data))


@readers
def test_requests_left_by_a_failed_read_do_not_affect_later_reads(tmp_path: Path, Reader: Reader) -> None:
    data = make_data(images=40)
    source = write_source(tmp_path / "s.zarr", data, chunks=(1, 4, 8, 10))
    truncate_file(source.chunk_file("predictions", 0, 0, 0, 0), 0.5)
    for i in range(2, 40):
        source.chunk_file("predictions", i, 0, 0, 0).unlink()
    reader = Reader(specs(source)[0], {})
    for _ in range(20):
        with pytest.raises((ChunkDecodeError, MissingChunkError), match="predictions"):
            reader.read(*images(0, 40, data))
        np.testing.assert_array_equal(reader.read(*images(1, 2, data)), data.predictions[1:2])


@pytest.mark.parametrize("error", [OSError("503 SlowDown"), TimeoutError("no answer"), RuntimeError("client closed")])
def test_error_of_the_store_is_raised_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    reader = ArrayReader(specs(write_source(tmp_path / "s.zarr"))[0], {})

    async def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(LocalStore, "get", fail)
    with pytest.raises(type(error), match=str(error)):
        reader.read(*images(0, 8, make_data()))


# ------------------------------------------------------------------------------------------ bytes and requests


@readers
@pytest.mark.parametrize("form", ["v2", "v3", "tiles"])
def test_read_of_a_chunk_counts_one_request_and_its_bytes(tmp_path: Path, Reader: Reader, form: str) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, **FORMS[form])
    chunks = [path for path in source.predictions.rglob("*") if path.is_file() and not path.name.startswith((".", "z"))]
    reader = Reader(specs(source)[0], {})
    opened = (reader.bytes, reader.requests)
    reader.read(*images(0, 8, data))
    assert reader.bytes - opened[0] == sum(path.stat().st_size for path in chunks)
    assert reader.requests - opened[1] == len(chunks)


@readers
@sharded
def test_read_of_a_shard_counts_its_bytes_and_its_index(tmp_path: Path, Reader: Reader, form: str) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, **FORMS[form])
    files = [source.chunk_file("predictions", i, 0, 0, 0) for i in (0, 1)]
    index = 2 * 16 + 4
    reader = Reader(specs(source)[0], {})
    opened = reader.bytes
    reader.read(*images(0, 8, data))
    direct = Reader is BufferReader  # zarr reads the index a second time
    assert reader.bytes - opened == sum(file.stat().st_size + (0 if direct else index) for file in files)

    parts = Reader(specs(source)[0], {})
    opened = parts.bytes
    for start in range(0, 8, 2):
        parts.read(*images(start, start + 2, data))
    payload = sum(file.stat().st_size - index for file in files)
    assert parts.bytes - opened == payload + (2 if direct else 2 + 4) * index, (
        "inner chunks once, indexes once per shard and, by zarr, once per read"
    )


# --------------------------------------------------------------------------------------------------- evidence


SHAPE = (5, 3, 4)
DTYPES = dict(zip(EVIDENCE_PLANES, ("float16", "uint8", "float16"), strict=True))


def create_evidence(url: str) -> EvidenceArrays:
    arrays = EvidenceArrays(url, {})
    arrays.create(EVIDENCE_PLANES, DTYPES, SHAPE, (2, 3, 4), {"kind": "evidence"})
    return arrays


@pytest.mark.parametrize("where", ["local", "memory"])
def test_evidence_is_read_as_written(tmp_path: Path, where: str) -> None:
    url = str(tmp_path / "e.zarr") if where == "local" else f"memory://{uuid.uuid4().hex}/e.zarr"
    arrays = create_evidence(url)
    planes = np.arange(60, dtype="float16").reshape(SHAPE) / 64
    for start in (0, 2, 4):
        arrays.write(EVIDENCE_PLANES[0], start, planes[start : start + 2])
    arrays.create(EVIDENCE_PLANES, DTYPES, SHAPE, (2, 3, 4), {"kind": "evidence"})
    again = EvidenceArrays(url, {})
    np.testing.assert_array_equal(again.read(EVIDENCE_PLANES[0], 1, 5), planes[1:])
    assert again.io_counters["bytes_read"] > 0
    assert again.io_counters["requests"] > 0
    assert arrays.io_counters["bytes_written"] > 0
    group = zarr.open_group(url, mode="r")
    assert group.attrs["kind"] == "evidence"
    assert group[EVIDENCE_PLANES[1]].dtype == np.uint8
    assert group[EVIDENCE_PLANES[2]].metadata.dimension_names == ("image", "y", "x")


def test_evidence_planes_of_zeros_are_stored(tmp_path: Path) -> None:
    arrays = create_evidence(str(tmp_path))
    arrays.write(EVIDENCE_PLANES[0], 0, np.zeros((2, 3, 4), "float16"))
    assert not arrays.read(EVIDENCE_PLANES[0], 0, 2).any()


def test_missing_or_damaged_evidence_raises(tmp_path: Path) -> None:
    arrays = create_evidence(str(tmp_path))
    arrays.write(EVIDENCE_PLANES[0], 0, np.ones((2, 3, 4), "float16"))
    with raises(DataError, r"Evidence at .* is damaged: .*c/1/0/0 of self_confidence does not exist"):
        arrays.read(EVIDENCE_PLANES[0], 0, 4)
    truncate_file(tmp_path / EVIDENCE_PLANES[0] / "c/0/0/0", 0.5)
    with raises(DataError, r"Evidence at .* is damaged: .*self_confidence.* (is truncated|does not decode)"):
        arrays.read(EVIDENCE_PLANES[0], 0, 2)
