"""Requests to a store for the metadata of many sources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from masksift.config.load import build_run_config
from masksift.config.run import RunConfig
from masksift.core.errors import DataError
from masksift.core.limits import MAX_CONCURRENT_METADATA_REQUESTS, MAX_CONCURRENT_REQUESTS
from masksift.engine.stages import create_evidence_arrays
from masksift.runner import make_block_tasks, make_run_context
from masksift.storage.credentials import resolve_credentials
from support.errors import raises
from support.memory_s3 import MemoryS3, run_memory_s3
from support.results import read_files
from support.sources import make_data, write_source

SOURCES = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryS3]:
    """Run a server with a latency of 10 ms that holds copies of one source."""
    source = write_source(tmp_path_factory.mktemp("template") / "a.zarr", make_data(images=2))
    with run_memory_s3(read_files(source.path), SOURCES, 0.01) as server:
        yield server


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    resolve_credentials.cache_clear()
    yield
    resolve_credentials.cache_clear()


def configure(server: MemoryS3, numbers: list[int], **changes: Any) -> RunConfig:
    server.take_counts()
    sources = [f"s3://lake/copies/{number}.zarr" for number in numbers]
    tree = {"sources": sources, "out": "s3://lake/out", "storage": {"endpoint_url": server.url}}
    return build_run_config({**tree, **changes}, {})


def test_source_is_opened_with_one_request_per_array_and_listing(server: MemoryS3) -> None:
    tasks = make_block_tasks(configure(server, list(range(SOURCES))))
    counts, at_once = server.take_counts()
    # the group, and predictions, labels, image_id, height, width and images; listings of predictions and labels
    assert (counts["GET"], counts["LIST"]) == (7 * SOURCES, 2 * SOURCES)
    assert counts.total() - counts["GET 404"] == 9 * SOURCES
    assert MAX_CONCURRENT_REQUESTS < at_once <= 2 * MAX_CONCURRENT_METADATA_REQUESTS
    assert [spec.name for spec in tasks.sources] == [str(number) for number in range(SOURCES)]
    assert len({spec.content_hashes["content"] for spec in tasks.sources}) == 1


def test_evidence_arrays_are_created_with_one_write_each(server: MemoryS3) -> None:
    config = configure(server, list(range(SOURCES)), report={"top": 0})
    tasks = make_block_tasks(config)
    counts, _ = server.take_counts()
    assert (counts["GET"], counts["LIST"]) == (6 * SOURCES, 2 * SOURCES)
    context = make_run_context(config, tasks)
    for _ in range(2):
        create_evidence_arrays(context, tasks)
        counts, at_once = server.take_counts()
        assert dict(counts) == {"PUT": 5 * SOURCES}
        assert MAX_CONCURRENT_REQUESTS < at_once <= MAX_CONCURRENT_METADATA_REQUESTS


def test_first_source_in_order_that_cannot_be_opened_is_reported(server: MemoryS3) -> None:
    numbers = [0, 1, SOURCES + 7, 2, SOURCES + 3, 3]
    for _ in range(3):
        with raises(DataError, match=f"There is no Zarr group at s3://lake/copies/{SOURCES + 7}.zarr"):
            make_block_tasks(configure(server, numbers))
