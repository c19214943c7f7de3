"""The table of sources, and their part of the identity of a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from masksift.core.errors import UsageError
from masksift.core.specs import BINARY_MASK, Decoding, EnsembleMember, Packing
from masksift.engine.source_table import SOURCE_TABLE, read_source_table, sources_identity, write_source_table
from masksift.storage.objects import ObjectDirectory
from support.errors import raises
from support.many_sources import IMAGES, make_sources, make_tasks
from support.results import read_rows


def test_sources_with_their_evidence_are_read_as_they_were_written(tmp_path: Path) -> None:
    tasks = make_tasks(5)
    plain, packed, ensemble, *others = tasks.sources
    decoding = Decoding(replace(packed.predictions, dtype="int16"), Packing("int16", 0.5, 1.0, (3.0,)))
    member = EnsembleMember(ensemble.predictions, "logits", 1.0, 0.1)
    sources = (
        replace(plain, remap=BINARY_MASK, partitions={"dt": None, "region": "north"}, image_id=plain.labels),
        replace(packed, predictions=replace(packed.predictions, decoding=decoding)),
        replace(ensemble, members=(member, member), size_arrays=(None, ensemble.labels)),
        *others,
    )
    directory = ObjectDirectory(str(tmp_path))
    write_source_table(directory, replace(tasks, sources=sources))
    expected = zip(sources, zip(tasks.evidence_locations, tasks.plan.layouts, strict=True), strict=True)
    assert read_source_table(directory) == list(expected)
    rows = read_rows(tmp_path, SOURCE_TABLE)
    assert [row["kept"] for row in rows] == [False, True, False, True, False]
    assert [(row["first_block"], row["blocks"]) for row in rows] == [(n, 1) for n in range(5)]
    assert {row["images"] for row in rows} == {IMAGES}


def test_identity_of_sources_has_the_same_size_for_any_number() -> None:
    sizes = {len(json.dumps(sources_identity(make_sources(count)))) for count in (200, 900)}
    assert len(sizes) == 1
    assert sizes.pop() < 2_000


@pytest.mark.parametrize(
    "change",
    [
        {"content_hashes": {"metadata": "0" * 64, "content": "1" * 64}},
        {"url": "elsewhere"},
        {"ignore": (254, 255)},
        {"scale": 0.5},
        {"class_names": ("a", "c")},
        {"remap": BINARY_MASK},
        {"partitions": {"dt": "1"}},
        {"absent_labels_are_missing": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_identity_of_sources_depends_on_every_field_of_every_source(change: dict[str, Any]) -> None:
    sources = make_sources(4)
    before = sources_identity(sources)
    assert before == sources_identity(make_sources(4))
    for number, spec in enumerate(sources):
        changed = (*sources[:number], replace(spec, **change), *sources[number + 1 :])
        assert sources_identity(changed) != before


def test_identity_of_sources_depends_on_their_order_and_number() -> None:
    sources = make_sources(3)
    identities = [sources_identity(one) for one in (sources, sources[::-1], sources[:2], (*sources, sources[0]))]
    assert len({json.dumps(identity) for identity in identities}) == len(identities)


def test_missing_or_damaged_source_table_is_a_usage_error(tmp_path: Path) -> None:
    directory = ObjectDirectory(str(tmp_path))
    with raises(UsageError, match=r"sources\.parquet cannot be read"):
        read_source_table(directory)
    (tmp_path / SOURCE_TABLE).write_bytes(b"PAR1 and nothing else PAR1")
    with raises(UsageError, match=r"sources\.parquet cannot be read"):
        read_source_table(directory)
