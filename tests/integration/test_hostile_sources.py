"""Mutated chunks and metadata: no crash, no other image changes, and memory stays bounded.

`MASKSIFT_FUZZ=2000` makes that many examples of each property.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
import zarr.codecs.numcodecs as v3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

from masksift.core.status import STATUSES
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.validation import ChunkDecodeError
from support.cli import run_cli
from support.results import read_rows
from support.sources import make_data

EXAMPLES = int(os.environ.get("MASKSIFT_FUZZ", "10"))
IMAGES, SHARD = 8, 4
MEMORY_BYTES = 3 << 30
"""Address space above that of the idle process: threads and their heaps take most of it."""
SECONDS = 60
STATUS_NAMES = {"scored", *STATUSES}

Create = Mapping[str, Any]
Form = Callable[[str], Create]
"""Arguments of `create_array` by the name of the array."""


def _v2(compressor: Any, *filters: Callable[[str], Any]) -> Form:
    return lambda dtype: {
        "zarr_format": 2,
        "compressors": compressor,
        "filters": [make(dtype) for make in filters] or None,
    }


def _v3(*compressors: Any, **options: Any) -> Form:
    return lambda dtype: {"compressors": list(compressors) or None, **options}


def _with_filters(*filters: Callable[[str], Any]) -> Form:
    return lambda dtype: {"filters": [make(dtype) for make in filters], "compressors": ZstdCodec()}


def _in_shards(*codecs: Any, where: str = "end") -> Form:
    return lambda dtype: {"compressors": list(codecs), "shard_images": SHARD, "index_location": where}


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # codecs beyond the specification of Zarr 3
    FORMS: Mapping[str, Form] = {
        "zstd": _v3(ZstdCodec()),
        "none": _v3(),
        "crc32c": _v3(Crc32cCodec()),
        "zstd, crc32c": _v3(ZstdCodec(), Crc32cCodec()),
        "gzip": _v3(GzipCodec()),
        "gzip of zstd": _v3(ZstdCodec(), GzipCodec()),
        **{f"blosc {name}": _v3(BloscCodec(cname=name)) for name in ("zstd", "lz4", "lz4hc", "blosclz", "zlib")},  # type: ignore[arg-type]
        **{f"v3 {name}": _v3(getattr(v3, name)()) for name in ("BZ2", "LZMA", "LZ4", "Zlib", "Zstd", "Blosc", "GZip")},
        "v3 checksums": _v3(v3.Adler32(), v3.CRC32(), v3.Fletcher32(), v3.JenkinsLookup3()),
        "v3 shuffle": _v3(v3.Shuffle(elementsize=4), v3.LZ4()),
        "v3 delta": _with_filters(lambda dtype: v3.Delta(dtype=dtype)),
        "v3 transposed": _with_filters(
            lambda dtype: TransposeCodec(order=(2, 1, 0) if dtype == "u1" else (3, 2, 1, 0))
        ),
        "shards": _in_shards(ZstdCodec()),
        "shards, index first": _in_shards(GzipCodec(), where="start"),
        "shards of blosc": _in_shards(BloscCodec(), Crc32cCodec()),
        "shards, uncompressed": _in_shards(),
    }
FORMS = {
    **FORMS,
    "v2 none": _v2(None),
    "v2 zstd": _v2(numcodecs.Zstd()),
    "v2 blosc": _v2(numcodecs.Blosc(cname="lz4", shuffle=2)),
    "v2 blosc blocks": _v2(numcodecs.Blosc(cname="blosclz", blocksize=128)),
    "v2 gzip": _v2(numcodecs.GZip()),
    "v2 zlib": _v2(numcodecs.Zlib()),
    "v2 bz2": _v2(numcodecs.BZ2()),
    "v2 lzma": _v2(numcodecs.LZMA()),
    "v2 lz4": _v2(numcodecs.LZ4()),
    "v2 delta": _v2(numcodecs.Zlib(), lambda dtype: numcodecs.Delta(dtype=dtype)),
    "v2 shuffle": _v2(numcodecs.LZ4(), lambda dtype: numcodecs.Shuffle(elementsize=4)),
    "v2 astype": _v2(
        numcodecs.GZip(),
        lambda dtype: numcodecs.AsType(encode_dtype="f8" if dtype == "f4" else "i8", decode_dtype=dtype),
    ),
    "v2 checksums": _v2(numcodecs.Zstd(), lambda dtype: numcodecs.Fletcher32(), lambda dtype: numcodecs.Adler32()),
    "v2 base64": _v2(numcodecs.Zlib(), lambda dtype: numcodecs.Base64()),
}
BOMBS = (
    b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + b"\x01\x00\x00",  # a zstd frame of a terabyte
    zlib.compress(bytes(1 << 24)),
    numcodecs.GZip().encode(bytes(1 << 24)),
    numcodecs.BZ2().encode(bytes(1 << 24)),
    numcodecs.LZMA().encode(bytes(1 << 24)),
    b"\xff\xff\xff\x7f" + bytes(40),  # lz4 of 2 GiB
    b"\x02\x01\x21\x04" + b"\xff\xff\xff\x7f" * 2 + (64).to_bytes(4, "little") + bytes(48),  # blosc of 2 GiB
)


@cache
def write_form(form: str) -> Path:
    """Write a source of the same images in some form."""
    folder = Path(mkdtemp())
    data, options = make_data(images=IMAGES, classes=3, height=6, width=8), FORMS[form]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fmt = options("f4").get("zarr_format", 3)
        group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=fmt, attributes={"ignore": list(data.ignore)})
        for name, values in (("predictions", data.predictions), ("labels", data.labels)):
            keywords = dict(options("f4" if name == "predictions" else "u1"))
            keywords.pop("zarr_format", None)
            images, where = keywords.pop("shard_images", None), keywords.pop("index_location", "end")
            shards = images and {"shape": (images, *values.shape[1:]), "index_location": where}
            array = group.create_array(
                name,
                shape=values.shape,
                dtype=values.dtype,
                chunks=(1, *values.shape[1:]),
                shards=shards,
                fill_value=255 if name == "labels" else 0,
                config={"write_empty_chunks": True},
                **keywords,
            )
            array[...] = values
    return folder / "a.zarr"


@cache
def expected_scores() -> Mapping[int, float]:
    source = write_form("none")
    assert run(source, source.parent / "out") == 0
    return scores(source.parent / "out")


def run(source: Path, out: Path) -> int:
    with bounded_memory(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run_cli(
            *("run", "--source", source, "--out", out, "--methods", "softmin"),
            *("--report.top", 0, "--evidence.keep", "false", "--max_quarantined", "100%"),
        )


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Limit address space and time: a large allocation raises MemoryError, which ends a run with exit code 5."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, hard))
    before = signal.signal(signal.SIGALRM, _time_out)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _time_out(*_: object) -> None:
    raise AssertionError(f"the run took more than {SECONDS} s")


def scores(out: Path) -> dict[int, float]:
    return {row["index"]: row["softmin"] for row in read_rows(out) if row["status"] == "scored"}


def objects(array: Path) -> list[tuple[Path, tuple[int, ...]]]:
    """Return the chunks or shards of an array, and the images that each holds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = zarr.open_array(array, mode="r")
    size, rest = (opened.shards or opened.chunks)[0], (0,) * (opened.ndim - 1)
    return [
        (array / opened.metadata.encode_chunk_key((number, *rest)), tuple(range(number * size, (number + 1) * size)))
        for number in range(IMAGES // size)
    ]


# ---------------------------------------------------------------------------------------------------------- chunks

Mutation = Callable[[bytes, bytes], bytes]
"""Function of an object and another one of the same array that returns the mutated object."""
NUMBERS = st.sampled_from(
    [0, 1, 127, 128, 255, *(2**bits + change for bits in (15, 31, 32, 40, 63, 64) for change in (-1, 0))]
)
NUMBERS |= st.integers(0, 2000)


def _flip(flips: list[tuple[float, int]]) -> Mutation:
    def flip(data: bytes, other: bytes) -> bytes:
        result = bytearray(data)
        for place, bit in flips:
            if result:
                result[int(place * (len(result) - 1))] ^= 1 << bit
        return bytes(result)

    return flip


def _set_number(place: int, number: int, size: int) -> Mutation:
    field = (number % (1 << 8 * size)).to_bytes(size, "little")

    def set_number(data: bytes, other: bytes) -> bytes:
        start = place if place >= 0 else max(0, len(data) + place)
        return data[:start] + field + data[start + size :]

    return set_number


SHARES = st.floats(0, 1)
MUTATIONS: st.SearchStrategy[Mutation] = st.one_of(
    st.lists(st.tuples(SHARES, st.integers(0, 7)), min_size=1, max_size=8).map(_flip),
    st.builds(_set_number, st.integers(-80, 40), NUMBERS, st.sampled_from([1, 2, 4, 8])),
    SHARES.map(lambda share: lambda data, other: data[: int(share * len(data))]),
    st.binary(max_size=200).map(lambda tail: lambda data, other: data + tail),
    st.integers(2, 50).map(lambda times: lambda data, other: data * times),
    st.just(lambda data, other: other),
    st.just(lambda data, other: data + other),
    SHARES.map(lambda share: lambda data, other: data[: int(share * len(data))] + other[int(share * len(other)) :]),
    st.binary(max_size=200).map(lambda data: lambda *_: data),
    st.sampled_from(BOMBS).map(lambda bomb: lambda *_: bomb),
    st.sampled_from(BOMBS).map(lambda bomb: lambda data, other: data + bomb),
)
DAMAGE = st.lists(
    st.tuples(st.sampled_from(["predictions", "labels"]), st.integers(0, IMAGES - 1), MUTATIONS), min_size=1, max_size=6
)
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@FUZZ
@given(form=st.sampled_from(list(FORMS)), damage=DAMAGE)
def test_mutated_chunks_change_no_other_image(
    form: str, damage: list[tuple[str, int, Mutation]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    source, expected = write_form(form), expected_scores()
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(source, folder / "a.zarr")
    mutated: set[int] = set()
    for array, image, mutate in damage:
        files = objects(folder / "a.zarr" / array)
        path, images = next((path, images) for path, images in files if image in images)
        path.write_bytes(mutate(path.read_bytes(), files[-1][0].read_bytes()))
        mutated |= set(images)
    assert run(folder / "a.zarr", folder / "out") == 0
    assert {row["status"] for row in read_rows(folder / "out")} <= STATUS_NAMES
    found = scores(folder / "out")
    assert {i: score for i, score in found.items() if i not in mutated} == {
        i: score for i, score in expected.items() if i not in mutated
    }
    shutil.rmtree(folder)


@pytest.mark.parametrize("form", FORMS)
def test_chunk_that_declares_or_inflates_to_more_does_not_decode(form: str, tmp_path: Path) -> None:
    if "shards" in form:
        pytest.skip("the bytes of an inner chunk are in a shard")
    shutil.copytree(write_form(form), tmp_path / "a.zarr")
    with bounded_memory(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec = open_source(str(tmp_path / "a.zarr"), Overrides(), {})
        for array in (spec.predictions, spec.labels):
            reader, buffer = ArrayReader(array, {}), np.empty((1, *array.shape[1:]), array.dtype)
            for image, bomb in enumerate(BOMBS):
                objects(Path(array.url))[image][0].write_bytes(bomb)
                with pytest.raises(
                    ChunkDecodeError, match=rf"chunk (c/)?{image}[/.0]+ of .* (does not decode|is trunc)"
                ):
                    reader.read(slice(image, image + 1), *(slice(0, size) for size in array.shape[1:]), out=buffer)


# -------------------------------------------------------------------------------------------------------- metadata

HOSTILE_NUMBERS = (-1, 0, 1, 2, 1.5, 1e308, float("nan"), 10**9, 2**31, 2**40, 2**63, 10**30)
HOSTILE_TEXTS = ("", "x", "uint8", "float64", "<f8", "|O", "<U1000000000", "zstd", "gzip", "/", ".")
HOSTILE_TREES: tuple[Any, ...] = (None, True, False, [], {}, [[]], [1], [0, 0, 0])
VALUES: st.SearchStrategy[Any] = st.one_of(
    *map(st.sampled_from, (HOSTILE_NUMBERS, HOSTILE_TEXTS, HOSTILE_TREES)),
    st.lists(st.sampled_from([0, 1, 2, 3, 6, 8, 10**6, 2**40]), min_size=3, max_size=4),
    st.integers(-(2**70), 2**70),
    st.text(max_size=5),
)


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from _paths(value, (*path, key))


@FUZZ
@given(
    form=st.sampled_from(list(FORMS)),
    changes=st.lists(st.tuples(SHARES, SHARES, VALUES | st.just(...)), min_size=1, max_size=3),
)
def test_mutated_metadata_are_refused_or_read(
    form: str, changes: list[tuple[float, float, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = write_form(form)
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(source, folder / "a.zarr")
    files = sorted(path for name in ("zarr.json", ".z*") for path in (folder / "a.zarr").rglob(name))
    for which, where, value in changes:
        file = files[int(which * (len(files) - 1))]
        tree = json.loads(file.read_text())
        paths = list(_paths(tree))
        if not paths:
            continue
        *parents, key = paths[int(where * (len(paths) - 1))]
        parent = tree
        for name in parents:
            parent = parent[name]
        if value is ...:
            del parent[key]
        else:
            parent[key] = value
        file.write_text(json.dumps(tree))
    assert run(folder / "a.zarr", folder / "out") in (0, 2, 4)
    shutil.rmtree(folder)


@FUZZ
@given(form=st.sampled_from(["zstd", "v2 zstd"]), mutate=MUTATIONS, which=SHARES)
def test_mutated_metadata_files_are_refused_or_read(
    form: str, mutate: Mutation, which: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = write_form(form)
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(source, folder / "a.zarr")
    files = sorted(path for name in ("zarr.json", ".z*") for path in (folder / "a.zarr").rglob(name))
    file = files[int(which * (len(files) - 1))]
    file.write_bytes(mutate(file.read_bytes(), files[0].read_bytes()))
    assert run(folder / "a.zarr", folder / "out") in (0, 2, 4)
    shutil.rmtree(folder)
