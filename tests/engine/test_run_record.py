"""Content of run.json."""

from __future__ import annotations

import json

from masksift.config.load import build_run_config
from masksift.engine.run_record import MAX_RECORDED_SOURCES, plan_identity, recorded_configuration
from support.many_sources import make_tasks


def test_configuration_of_many_sources_is_recorded_with_a_bounded_list() -> None:
    urls = [f"s3://lake/dt=2026-11-23/part={number:06d}.zarr" for number in range(100_000)]
    recorded = recorded_configuration(build_run_config({"sources": urls, "out": "s3://lake/out"}, {}))
    assert recorded["sources"] == [*urls[:MAX_RECORDED_SOURCES], "... and 99,000 others: see sources.parquet"]
    again = recorded_configuration(build_run_config(recorded, {}))
    assert again["sources"] == recorded["sources"], "`masksift score` takes over the configuration of a run"
    assert len(json.dumps(recorded)) < 1 << 20


def test_plan_file_has_the_same_size_for_any_number_of_sources() -> None:
    assert len({len(json.dumps(plan_identity(make_tasks(count).plan))) for count in (100, 900)}) == 1
