"""Zarr arrays: what is stored is what is read, in any form; what is lost is noticed, and where; bytes are counted."""

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


def codecs_of(form: str) -> list[str]:
    return [codec for codec in CODECS if codec != "crc32c" or form != "v2"]  # Zarr v2 has no crc32c


def specs(source: Source, **overrides: Any) -> tuple[ArraySpec, ArraySpec]:
    spec = open_source(str(source), Overrides(**overrides), {})
    return spec.predictions, spec.labels


def images(start: int, stop: int, data: Data) -> tuple[slice, slice, slice, slice]:
    """All of some images."""
    _, classes, height, width = data.predictions.shape
    return slice(start, stop), slice(0, classes), slice(0, height), slice(0, width)


def read_all(spec: ArraySpec, **options: Any) -> Array:
    return ArrayReader(spec, {}, **options).read(*(slice(0, size) for size in spec.shape))


class IntoReader(ArrayReader):
    """Every read is given memory that holds something else."""

    def read(self, *window: slice, out: Array | None = None) -> Array:
        shape = [part.stop - part.start for part in window]
        return super().read(*window, out=np.full(shape, 77, self._array.dtype.newbyteorder("=")))


Reader = type[ArrayReader]
READERS: list[Reader] = [ArrayReader, IntoReader]
readers = pytest.mark.parametrize("Reader", READERS, ids=["fresh memory", "given memory"])


# ------------------------------------------------------------------------------------------------ what is read


@st.composite
def stored(draw: st.DrawFn) -> tuple[Data, dict[str, Any]]:
    """A small data set and any form to store it in."""
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


@given(drawn=stored(), place=st.data())
@settings(max_examples=40, deadline=None)
def test_any_window_of_any_form_is_what_was_written(drawn: tuple[Data, dict[str, Any]], place: st.DataObject) -> None:
    data, forms = drawn
    with TemporaryDirectory() as folder:
        source = write_source(Path(folder) / "s.zarr", data, **forms)
        axes = {"predictions_axes": tuple(forms["order"]), "labels_axes": tuple(forms["label_order"])}
        for spec, values in zip(specs(source, **axes), (data.predictions, data.labels), strict=True):
            edges = [sorted(place.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in values.shape]
            window = tuple(slice(*edge) for edge in edges)
            got = place.draw(st.sampled_from(READERS))(spec, {}).read(*window)
            np.testing.assert_array_equal(got, values[window])
            assert got.dtype == values.dtype
            assert got.flags.c_contiguous


@readers
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_numbers_stored_in_the_other_byte_order_are_read_in_this_one(
    tmp_path: Path, Reader: Reader, zarr_format: int
) -> None:
    group = zarr.open_group(tmp_path, mode="w", zarr_format=zarr_format)  # type: ignore[arg-type]
    data = make_data()
    group.create_array("predictions", data=data.predictions.astype(">f4"))
    group.create_array("labels", data=data.labels.astype(">i2"))
    predictions, labels = specs(Source(tmp_path))
    assert (predictions.dtype, labels.dtype) == ("float32", "int16")
    for spec, values in ((predictions, data.predictions), (labels, data.labels)):
        got = Reader(spec, {}).read(*(slice(0, size) for size in spec.shape))
        assert got.dtype.isnative
        np.testing.assert_array_equal(got, values)


# ------------------------------------------------------------------------------------------- what is not there


@readers
@form
def test_a_chunk_that_is_absent_is_missing_and_the_others_are_not(tmp_path: Path, Reader: Reader, form: str) -> None:
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


def test_the_first_missing_chunk_is_named_by_its_numbers(tmp_path: Path) -> None:
    data = make_data(images=24)
    source = write_source(tmp_path / "s.zarr", data, chunks=(1, 4, 8, 10))
    for i in (12, 7, 10):
        source.chunk_file("predictions", i, 0, 0, 0).unlink()
    with pytest.raises(MissingChunkError, match="chunk c/7/0/0/0 of"):
        read_all(specs(source)[0])


@sharded
def test_an_inner_chunk_is_named_by_its_place_in_its_shard(tmp_path: Path, form: str) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, **FORMS[form])
    erase_chunks(source.predictions, slice(6, 8))
    with pytest.raises(
        MissingChunkError, match=r"inner chunk \(1, 0, 0, 0\) of shard c/1/0/0/0 of .*predictions does not"
    ):
        read_all(specs(source)[0])


@sharded
def test_an_absent_shard_is_missing(tmp_path: Path, form: str) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, **FORMS[form])
    source.chunk_file("predictions", 1, 0, 0, 0).unlink()
    reader = ArrayReader(specs(source)[0], {})
    with pytest.raises(MissingChunkError, match=r"shard c/1/0/0/0 of .*predictions does not exist"):
        reader.read(*images(0, 8, data))
    np.testing.assert_array_equal(reader.read(*images(0, 4, data)), data.predictions[:4])


@form
def test_where_absent_means_fill_it_reads_as_the_fill_value(tmp_path: Path, form: str) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, label_fill=255, **FORMS[form])
    erase_chunks(source.labels, slice(2, 4))
    got = read_all(specs(source)[1], absent_is_missing=False)
    expected = data.labels.copy()
    expected[2:4] = 255
    np.testing.assert_array_equal(got, expected)


# ---------------------------------------------------------------------------------------- what does not decode


@readers
@pytest.mark.parametrize(("form", "codec"), [(form, codec) for form in FORMS for codec in codecs_of(form)])
def test_a_chunk_cut_short_is_unreadable_and_the_others_are_not(
    tmp_path: Path, Reader: Reader, form: str, codec: str
) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, codec=codec, **FORMS[form])
    truncate_file(source.chunk_file("predictions", 0, 0, 0, 0), 0.3)
    reader = Reader(specs(source)[0], {})
    with pytest.raises(
        ChunkDecodeError, match=r"chunk (c/)?0[./]0[./]0[./]0 of .*/s\.zarr/predictions (is cut|does not dec)"
    ):
        reader.read(*images(0, 2, data))
    with pytest.raises(ChunkDecodeError, match="chunk"):
        reader.read(*images(0, 8, data))
    np.testing.assert_array_equal(reader.read(*images(4, 8, data)), data.predictions[4:8])


@given(
    stored_as=st.sampled_from([(f, c) for f in SMALL for c in codecs_of(f)]),
    share=st.floats(0, 1, exclude_max=True),
    Reader=st.sampled_from(READERS),
)
@settings(max_examples=60, deadline=None)
def test_wherever_an_object_is_cut_nothing_wrong_is_read(
    stored_as: tuple[str, str], share: float, Reader: Reader
) -> None:
    form, codec = stored_as
    data = make_data(images=2, height=3, width=3)
    with TemporaryDirectory() as folder:
        source = write_source(Path(folder) / "s.zarr", data, codec=codec, **SMALL[form])
        truncate_file(source.chunk_file("predictions", 0, 0, 0, 0), share)
        for start in (0, 1):  # the last inner chunk alone is read by its range, not with its shard
            with pytest.raises(ChunkDecodeError, match="predictions"):
                Reader(specs(source)[0], {}).read(*images(start, 2, data))


@given(codec=st.sampled_from(["gzip", "crc32c"]), place=st.floats(0, 1), bit=st.integers(0, 7), sharded=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_turned_bit_is_noticed_by_the_codecs_that_keep_a_checksum(
    codec: str, place: float, bit: int, sharded: bool
) -> None:
    data = make_data(images=2, height=3, width=3)
    with TemporaryDirectory() as folder:
        forms = {"shards": (2, 4, 3, 3), "chunks": (1, 4, 3, 3)} if sharded else {}
        source = write_source(Path(folder) / "s.zarr", data, codec=codec, **forms)
        file = source.chunk_file("predictions", 0, 0, 0, 0)
        flip_bit(file, round(place * (file.stat().st_size - 1)), bit)
        with suppress(ChunkDecodeError):  # or else it was a bit of gzip's header that means nothing
            np.testing.assert_array_equal(read_all(specs(source)[0]), data.predictions)


@readers
@pytest.mark.parametrize("codec", CODECS)
def test_a_turned_bit_in_the_header_of_a_chunk_never_ends_in_another_error(
    tmp_path: Path, Reader: Reader, codec: str
) -> None:
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
def test_one_inner_chunk_that_does_not_decode_spoils_no_other(tmp_path: Path, Reader: Reader) -> None:
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


def test_an_index_of_a_shard_that_is_damaged_is_unreadable(tmp_path: Path) -> None:
    source = write_source(tmp_path / "s.zarr", **FORMS["sharded"])
    file = source.chunk_file("predictions", 0, 0, 0, 0)
    flip_bit(file, file.stat().st_size - 10)
    with pytest.raises(ChunkDecodeError, match=r"^chunk c/0/0/0/0 of .* does not decode .*checksum"):
        ArrayReader(specs(source)[0], {}).read(*images(0, 2, make_data()))
    file.write_bytes(b"short")
    with pytest.raises(ChunkDecodeError, match=r"chunk c/0/0/0/0 of .* is cut short: 5 bytes where 36 should be"):
        read_all(specs(source)[0])


@readers
def test_of_several_faults_a_missing_chunk_is_told_before_one_that_does_not_decode(
    tmp_path: Path, Reader: Reader
) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, chunks=(2, 4, 2, 10))
    for i in range(1, 4):
        truncate_file(source.chunk_file("predictions", 0, 0, i, 0), 0.5)
    for _ in range(5):  # whichever of them the store answers first
        with pytest.raises(ChunkDecodeError, match=r"^chunk c/0/0/1/0 of .* does not decode"):
            Reader(specs(source)[0], {}).read(*images(0, 2, data))
    source.chunk_file("predictions", 0, 0, 3, 0).unlink()
    for _ in range(5):
        with pytest.raises(MissingChunkError, match=r"^chunk c/0/0/3/0 of .* does not exist"):
            Reader(specs(source)[0], {}).read(*images(0, 2, data))


@readers
def test_what_a_failed_read_left_under_way_spoils_no_later_one(tmp_path: Path, Reader: Reader) -> None:
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
def test_an_error_of_the_store_is_no_fault_of_the_chunk(
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
def test_a_chunk_costs_one_request_and_its_stored_bytes(tmp_path: Path, Reader: Reader, form: str) -> None:
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
def test_a_shard_costs_its_stored_bytes_and_its_index(tmp_path: Path, Reader: Reader, form: str) -> None:
    data = make_data()
    source = write_source(tmp_path / "s.zarr", data, **FORMS[form])
    files = [source.chunk_file("predictions", i, 0, 0, 0) for i in (0, 1)]
    index = 2 * 16 + 4
    reader = Reader(specs(source)[0], {})
    opened = reader.bytes
    reader.read(*images(0, 8, data))
    straight = Reader is IntoReader  # our own reading of the index serves it; zarr reads the index once more
    assert reader.bytes - opened == sum(file.stat().st_size + (0 if straight else index) for file in files)

    parts = Reader(specs(source)[0], {})
    opened = parts.bytes
    for start in range(0, 8, 2):
        parts.read(*images(start, start + 2, data))
    payload = sum(file.stat().st_size - index for file in files)
    assert parts.bytes - opened == payload + (2 if straight else 2 + 4) * index, (
        "each inner chunk once; indexes once a shard and, of zarr, once a read"
    )


# --------------------------------------------------------------------------------------------------- evidence


SHAPE = (5, 3, 4)
DTYPES = dict(zip(EVIDENCE_PLANES, ("float16", "uint8", "float16"), strict=True))


def evidence(url: str) -> EvidenceArrays:
    arrays = EvidenceArrays(url, {})
    arrays.create(EVIDENCE_PLANES, DTYPES, SHAPE, (2, 3, 4), {"kind": "evidence"})
    return arrays


@pytest.mark.parametrize("where", ["local", "memory"])
def test_evidence_is_read_as_it_was_written(tmp_path: Path, where: str) -> None:
    url = str(tmp_path / "e.zarr") if where == "local" else f"memory://{uuid.uuid4().hex}/e.zarr"
    arrays = evidence(url)
    planes = np.arange(60, dtype="float16").reshape(SHAPE) / 64
    for start in (0, 2, 4):
        arrays.write(EVIDENCE_PLANES[0], start, planes[start : start + 2])
    arrays.create(EVIDENCE_PLANES, DTYPES, SHAPE, (2, 3, 4), {})
    again = EvidenceArrays(url, {})
    np.testing.assert_array_equal(again.read(EVIDENCE_PLANES[0], 1, 5), planes[1:])
    assert again.io_counters["bytes_read"] > 0
    assert again.io_counters["requests"] > 0
    assert arrays.io_counters["bytes_written"] > 0
    group = zarr.open_group(url, mode="r")
    assert group.attrs["kind"] == "evidence"
    assert group[EVIDENCE_PLANES[1]].dtype == np.uint8
    assert group[EVIDENCE_PLANES[2]].metadata.dimension_names == ("image", "y", "x")


def test_planes_of_zeros_are_written_too(tmp_path: Path) -> None:
    arrays = evidence(str(tmp_path))
    arrays.write(EVIDENCE_PLANES[0], 0, np.zeros((2, 3, 4), "float16"))
    assert not arrays.read(EVIDENCE_PLANES[0], 0, 2).any()


def test_evidence_that_is_lost_is_never_read_as_zeros(tmp_path: Path) -> None:
    arrays = evidence(str(tmp_path))
    arrays.write(EVIDENCE_PLANES[0], 0, np.ones((2, 3, 4), "float16"))
    with raises(DataError, r"evidence at .* is lost: .*c/1/0/0 of self_confidence does not exist"):
        arrays.read(EVIDENCE_PLANES[0], 0, 4)
    truncate_file(tmp_path / EVIDENCE_PLANES[0] / "c/0/0/0", 0.5)
    with raises(DataError, r"evidence at .* is lost: .*self_confidence.* (is cut short|does not decode)"):
        arrays.read(EVIDENCE_PLANES[0], 0, 2)
