"""Direct decoding: common encodings are decoded exactly, all others are left to zarr."""

from __future__ import annotations

import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec
from zarr.core.sync import sync
from zarr.storage import LocalStore

from masksift.storage.zarr.bounded_codecs import zstd_size
from masksift.storage.zarr.direct_decode import DirectDecoder
from masksift.storage.zarr.evidence import EvidenceArrays
from masksift.storage.zarr.prefetch import Prefetcher
from masksift.storage.zarr.stores import InstrumentedStore, open_store
from masksift.storage.zarr.validation import ChunkValidator

V3: dict[str, list[Any]] = {
    "zstd": [ZstdCodec()],
    "zstd with a checksum": [ZstdCodec(level=3, checksum=True)],
    "blosc": [BloscCodec(cname="lz4", shuffle="bitshuffle")],
    "none": [],
}
V2: dict[str, Any] = {"zstd": numcodecs.Zstd(), "blosc": numcodecs.Blosc("zstd"), "none": None}
WHOLE = (slice(0, 3), slice(0, 4))


def open_decoder(url: str) -> tuple[DirectDecoder, zarr.Array[Any], InstrumentedStore]:
    store = InstrumentedStore(open_store(url, {}, read_only=True))
    array = zarr.open_array(store, mode="r")
    validator = ChunkValidator(array, url, store.read_range)
    validator.check_shards(tuple(slice(0, size) for size in array.shape), absent_is_missing=False)
    return DirectDecoder(array, validator.locate, Prefetcher(store, lambda _: None, 1, 1).fetch), array, store


def create(url: str, values: np.ndarray[Any, Any], chunks: tuple[int, ...], **form: Any) -> None:
    array = zarr.create_array(
        open_store(url, {}, read_only=False),
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        fill_value=0,
        **form,
    )
    array.with_config({"write_empty_chunks": True})[...] = values


@st.composite
def arrays_in_common_encodings(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], tuple[int, ...], dict[str, Any]]:
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    chunks = tuple(draw(st.integers(1, size + 2)) for size in shape)
    dtype = draw(st.sampled_from(["uint8", "uint16", "float16", "float32", "int64"]))
    values = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 200, shape).astype(dtype)
    if draw(st.booleans()):
        form: dict[str, Any] = {"zarr_format": 3, "compressors": draw(st.sampled_from(list(V3.values())))}
        if draw(st.booleans()):
            form["shards"] = tuple(draw(st.integers(1, 3)) * size for size in chunks)
        return values, chunks, form
    return values, chunks, {"zarr_format": 2, "compressors": draw(st.sampled_from(list(V2.values())))}


@given(stored=arrays_in_common_encodings(), place=st.data(), local=st.booleans())
@settings(max_examples=150, deadline=None)
def test_window_of_a_common_encoding_is_decoded_into_the_buffer(
    stored: tuple[np.ndarray[Any, Any], tuple[int, ...], dict[str, Any]], place: st.DataObject, local: bool
) -> None:
    values, chunks, form = stored
    with TemporaryDirectory() as folder:
        url = f"{folder}/a.zarr" if local else f"memory://{uuid.uuid4().hex}"
        create(url, values, chunks, **form)
        decoder, _, store = open_decoder(url)
        for _ in range(2):  # the second read reuses buffers
            edges = [sorted(place.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in values.shape]
            window = tuple(slice(*edge) for edge in edges)
            out = np.full(values[window].shape, 77, values.dtype)
            assert decoder.read(window, out)
            np.testing.assert_array_equal(out, values[window])
        assert store.requests > 0
        assert store.bytes > 0


OTHER_ENCODINGS: dict[str, dict[str, Any]] = {
    "gzip": {"compressors": [GzipCodec()]},
    "two codecs": {"compressors": [ZstdCodec(), Crc32cCodec()]},
    "shards of gzip": {"shards": (4, 4), "chunks": (2, 2), "compressors": [GzipCodec()]},
    "the other byte order": {"serializer": BytesCodec(endian="big")},
    "transposed": {"filters": [TransposeCodec(order=(1, 0))]},
    "v2, a filter": {"zarr_format": 2, "filters": [numcodecs.Delta("uint16")]},
    "v2, in Fortran's order": {"zarr_format": 2, "order": "F"},
    "v2, gzip": {"zarr_format": 2, "compressors": numcodecs.GZip()},
}


@pytest.mark.parametrize("form", OTHER_ENCODINGS)
def test_window_of_another_encoding_is_left_to_zarr(tmp_path: Path, form: str) -> None:
    values = np.arange(16, dtype="uint16").reshape(4, 4)
    create(str(tmp_path), values, **{"chunks": (2, 4), **OTHER_ENCODINGS[form]})
    decoder, array, store = open_decoder(str(tmp_path))
    before = store.requests
    assert not decoder.read(WHOLE, np.empty((3, 4), "uint16"))
    assert store.requests == before
    np.testing.assert_array_equal(np.asarray(array[:]), values)


@pytest.mark.parametrize("form", ["zstd", "blosc", "none"])
@pytest.mark.parametrize("size", [0, 1, 15, 17, 32])
def test_chunk_of_another_size_is_left_to_zarr(tmp_path: Path, form: str, size: int) -> None:
    create(str(tmp_path), np.arange(16, dtype="uint8").reshape(4, 4), (4, 4), compressors=V3[form])
    other = bytes(size)
    encoded = other if form == "none" else bytes(V2[form].encode(other)) if size else b""
    (tmp_path / "c/0/0").write_bytes(encoded)
    assert not open_decoder(str(tmp_path))[0].read(WHOLE, np.empty((3, 4), "uint8"))


def test_chunk_of_two_zstd_frames_raises(tmp_path: Path) -> None:
    create(str(tmp_path), np.zeros((4, 4), "uint8"), (4, 4), compressors=V3["zstd"])
    chunk, frame = tmp_path / "c/0/0", numcodecs.Zstd()
    chunk.write_bytes(bytes(frame.encode(bytes(16))) + bytes(frame.encode(bytes(16))))
    with pytest.raises(ValueError, match="expected at least 32, got 16"):
        open_decoder(str(tmp_path))[0].read(WHOLE, np.empty((3, 4), "uint8"))


@pytest.mark.parametrize("size", [16, 255, 256, 257, 65_535, 65_791, 65_792, 100_000, 1 << 20])
@pytest.mark.parametrize("checksum", [False, True])
def test_zstd_size_of_a_frame_is_its_decoded_size(size: int, checksum: bool) -> None:
    data = np.random.default_rng(size).integers(0, 255, size, np.uint8)
    frame = np.frombuffer(numcodecs.Zstd(checksum=checksum).encode(data), np.uint8)
    assert zstd_size(frame) == size


@pytest.mark.parametrize(
    ("head", "size"),
    [
        ("28b52ffd 00 58 0000 0000000000000000000000", None),  # a stream without a size
        ("28b52ffd 20 10 0000 0000000000000000000000", 16),
        ("28b52ffd 40 58 0001 0000000000000000000000", 512),
        ("28b52ffd 61 07 0001 0000000000000000000000", 512),  # after one byte of a dictionary identifier
        ("28b52ffd 80 58 00000001 000000000000000000", 1 << 24),
        ("28b52ffd a3 07070707 00000001 000000000000", 1 << 24),
        ("28b52ffd e0 0000000001000000 0000000000000", 1 << 32),
        ("28b52ffe 20 10 0000 0000000000000000000000", None),  # not a frame
        ("28b52ffd 60 10", None),  # truncated header
        ("28b52ffd", None),
    ],
)
def test_zstd_size_reads_every_header_form(head: str, size: int | None) -> None:
    data = bytes.fromhex(head.replace(" ", "") + "0" * (len(head.replace(" ", "")) % 2))
    assert zstd_size(np.frombuffer(data, np.uint8)) == size


@pytest.mark.parametrize("local", [True, False])
def test_absent_chunk_is_left_to_zarr(tmp_path: Path, local: bool) -> None:
    url = str(tmp_path) if local else f"memory://{uuid.uuid4().hex}"
    zarr.create_array(open_store(url, {}, read_only=False), shape=(4, 4), chunks=(2, 4), dtype="uint8", fill_value=0)
    decoder, _, store = open_decoder(url)
    assert not decoder.read(WHOLE, np.empty((3, 4), "uint8"))
    metadata = sync(store.fetch("zarr.json", None))
    assert metadata is not None
    assert store.bytes == 2 * len(metadata)
    if local:
        (tmp_path / "c/0/0").mkdir(parents=True)
        assert not decoder.read(WHOLE, np.empty((3, 4), "uint8"))


def test_absent_inner_chunk_is_left_to_zarr(tmp_path: Path) -> None:
    array = zarr.create_array(str(tmp_path), shape=(4, 4), shards=(4, 4), chunks=(2, 4), dtype="uint8", fill_value=0)
    array[:2] = 1
    decoder, _, _ = open_decoder(str(tmp_path))
    assert not decoder.read(WHOLE, np.empty((3, 4), "uint8"))
    out = np.empty((2, 4), "uint8")
    assert decoder.read((slice(0, 2), slice(0, 4)), out)
    assert (out == 1).all()


def test_error_of_the_store_is_raised_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(str(tmp_path), np.zeros((4, 4), "uint8"), (2, 4))
    decoder, _, store = open_decoder(str(tmp_path))

    def fail(*_: Any, **__: Any) -> None:
        raise PermissionError("access denied")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(PermissionError, match="access denied"):
        decoder.read(WHOLE, np.empty((3, 4), "uint8"))
    assert [type(error) for error in store.failures] == [PermissionError]


def test_bytes_and_requests_on_disk_equal_those_on_a_network(tmp_path: Path) -> None:
    values, counts = np.arange(64, dtype="uint8").reshape(8, 8), []
    for url in (str(tmp_path), f"memory://{uuid.uuid4().hex}"):
        create(url, values, (2, 8))
        decoder, _, store = open_decoder(url)
        before = store.bytes, store.requests
        assert decoder.read((slice(0, 8), slice(0, 8)), np.empty((8, 8), "uint8"))
        counts.append((store.bytes - before[0], store.requests - before[1]))
    assert isinstance(open_store(str(tmp_path), {}, read_only=True), LocalStore)
    assert counts[0] == counts[1]
    assert counts[0][1] == 4


def test_evidence_is_read_into_the_buffer(tmp_path: Path) -> None:
    arrays = EvidenceArrays(str(tmp_path), {})
    arrays.create(("plane",), {"plane": "float16"}, (5, 3, 4), (2, 3, 4), {})
    planes = np.arange(60, dtype="float16").reshape(5, 3, 4)
    for start in (0, 2, 4):
        arrays.write("plane", start, planes[start : start + 2])
    out = np.full((3, 3, 4), 77, "float16")
    assert arrays.read("plane", 2, 5, out) is out
    np.testing.assert_array_equal(out, planes[2:])
