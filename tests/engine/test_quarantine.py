"""Causes of quarantined images: counted in any order, explained with an example, and a reason to stop early."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import masksift
from masksift.config.load import build_run_config
from masksift.core.errors import DataError
from masksift.core.status import BAD_LABELS, MISSING_CHUNK, SCORED, ImageStatus
from masksift.engine.planning import layout
from masksift.engine.quarantine import (
    Causes,
    add_causes,
    count_causes,
    duplicate_class_warning,
    format_causes,
    list_causes,
)
from masksift.runtime.progress import ProgressReporter
from support.cli import exit_code, run_cli
from support.datasets import Data
from support.results import read_rows
from support.sources import make_data, write_source

STATUSES = st.builds(
    ImageStatus,
    st.sampled_from([BAD_LABELS, MISSING_CHUNK]),
    st.integers(0, 3).map(lambda number: f"label {number}"),
    st.sampled_from(["Pass --ignore 1.", "Pass --ignore 2.", "Write it again.", None]),
)


@given(
    blocks=st.lists(st.lists(st.one_of(st.just(ImageStatus()), STATUSES), max_size=6), max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_causes_are_the_same_in_any_order_and_division(
    blocks: list[list[ImageStatus]], order: np.random.Generator
) -> None:
    starts = np.cumsum([0, *map(len, blocks)]).tolist()
    parts = [
        count_causes(block, [f"a/{start + i}" for i in range(len(block))], 0, start)
        for block, start in zip(blocks, starts, strict=False)
    ]
    order.shuffle(parts)
    merged: Causes = {}
    for part in parts:
        add_causes(merged, json.loads(json.dumps(part)))
    every = [status for block in blocks for status in block]
    assert list_causes(merged) == list_causes(count_causes(every, [f"a/{i}" for i in range(len(every))], 0, 0))
    assert sum(cause["images"] for cause in merged.values()) == sum(s.status != SCORED for s in every)
    assert len(merged) <= 6, "advice with other numbers is one cause"


def test_summary_lists_the_most_frequent_causes_with_an_example() -> None:
    statuses = [ImageStatus(BAD_LABELS, f"label {9 + i % 2}", f"Pass --ignore {9 + i % 2}.") for i in range(3)]
    statuses += [ImageStatus(BAD_LABELS, "tab\there", text) for text in ("B.", "C.", "C.", "D.")]
    statuses += [ImageStatus(), ImageStatus(MISSING_CHUNK, "chunk 7", None)]
    causes = list_causes(count_causes(statuses, [f"street/{i}" for i in range(9)], 0, 0))
    assert list(format_causes({BAD_LABELS: 7, MISSING_CHUNK: 1, SCORED: 1}, causes)) == [
        "7 quarantined: bad_labels",
        "  3, for example street/0: label 9",
        "    Pass --ignore 9.",
        "  2, for example street/4: tab\\there",
        "    C.",
        "  1, for example street/3: tab\\there",
        "    B.",
        "  and 1 rarer causes: see quarantine in run.json",
        "1 quarantined: missing_chunk",
        "  1, for example street/8: chunk 7",
    ]
    assert list(format_causes({BAD_LABELS: 7}, ())) == ["7 quarantined: bad_labels"], "a record of an older version"


def test_classes_of_one_name_are_pointed_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert duplicate_class_warning(["road", "car", "sky"]) is None
    source = write_source(
        tmp_path / "a.zarr", attributes={"ignore": [255], "class_names": ["car", "sky", "car", "sky"]}
    )
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 0
    message = "Classes 0, 2 are all named 'car' (1 other names occur several times, too)."
    assert message in capsys.readouterr().err
    assert exit_code("plan", "--source", source, "--out", tmp_path / "out") == 0
    assert message in capsys.readouterr().out


# --------------------------------------------------------------------------------------------- stopping early


def write_bad_labels(path: Path, bad: int, images: int = 40) -> Path:
    """Write images of which the first ``bad`` have labels from 1."""
    data = make_data(images=images, ignore=None)
    labels = data.labels.copy()
    labels[:bad] += 1
    labels[:, 0, 0] = np.where(np.arange(images) < bad, 4, 0)
    return write_source(path, Data(data.predictions, labels, ()), chunks=(1, 4, 8, 10), label_chunks=(1, 8, 10)).path


@pytest.mark.parametrize("block_bytes", [1, 20_000, 1 << 30])
def test_run_stops_if_the_first_images_are_quarantined_for_one_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(layout, "MIN_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(layout, "TARGET_BLOCKS", 1 << 30)
    source, out = write_bad_labels(tmp_path / "a.zarr", 32), tmp_path / "out"
    args = ("run", "--source", source, "--out", out)
    messages = []
    for _ in range(2):
        assert run_cli(*args) == 2
        messages.append(capsys.readouterr().err.splitlines()[-1])
    assert messages[0] == messages[1], "the same decision from the finished blocks"
    assert messages[0].startswith(
        "masksift: The first 32 images are all quarantined with one status, so the run stopped: bad_labels, for "
        "example a/0: label 4 at (y=0, x=0) is neither a class 0..3"
    )
    assert "Pass --label_offset 1." in messages[0]
    assert messages[0].endswith("repeat this command with --quarantine continue.")
    assert not (out / "run.json").exists()
    assert run_cli(*args, "--quarantine", "continue") == 3
    assert [row["status"] for row in read_rows(out)] == ["bad_labels"] * 32 + ["scored"] * 8
    record = json.loads((out / "run.json").read_text())
    assert record["stages"][0]["reused_blocks"] > 0
    (cause,) = record["quarantine"]
    assert (cause["status"], cause["images"], cause["image"]) == ("bad_labels", 32, "a/0")
    assert run_cli(*args) == 3, "a complete run is returned as it is"


@pytest.mark.parametrize(("bad", "images"), [(31, 40), (32, 32)])
def test_run_goes_on_if_a_first_image_is_good_or_none_follows(tmp_path: Path, bad: int, images: int) -> None:
    source = write_bad_labels(tmp_path / "a.zarr", bad, images)
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 3
    assert len(read_rows(tmp_path / "out")) == images


def test_run_goes_on_after_several_causes_or_ignored_images(tmp_path: Path) -> None:
    data = make_data(images=40)
    predictions, labels = data.predictions.copy(), data.labels.copy()
    labels[:32] = 255
    source = write_source(tmp_path / "ignored.zarr", data._replace(labels=labels))
    assert run_cli("run", "--source", source, "--out", tmp_path / "ignored") == 3
    labels[:16, 0, 0], predictions[16:32] = 4, 0
    source = write_source(tmp_path / "mixed.zarr", Data(predictions, labels, (255,)))
    assert run_cli("run", "--source", source, "--out", tmp_path / "mixed") == 3


def test_run_on_a_cluster_stops_early(tmp_path: Path, scheduler_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MIN_BLOCK_BYTES", 1)
    source = write_bad_labels(tmp_path / "a.zarr", 40)
    executor = {"kind": "dask", "address": scheduler_address}
    config = build_run_config({"sources": [str(source)], "out": str(tmp_path / "out"), "executor": executor}, {})
    with pytest.raises(DataError, match="The first 32 images are all quarantined with one status"):
        masksift.run(config, ProgressReporter("quiet"))
