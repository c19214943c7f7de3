"""Bad input in whole runs: every row of the table of statuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from masksift.scoring.methods import score_names
from masksift.storage.tables.schemas import WORST_REGION_COLUMNS
from support.cli import run_cli
from support.datasets import Array, Data
from support.results import read_rows
from support.sources import Source, drop_images, erase_chunks, make_data, truncate_file, write_source

IMAGES = 12
FORMS: dict[str, dict[str, Any]] = {  # three images per label chunk
    "chunks": {"chunks": (3, 4, 4, 10), "label_chunks": (3, 8, 10)},
    "shards": {"chunks": (3, 4, 4, 10), "label_chunks": (3, 8, 10)}
    | {"shards": (6, 4, 8, 10), "label_shards": (6, 8, 10)},
    "images": {"chunks": (1, 4, 8, 10), "label_chunks": (3, 8, 10)},
    "v2": {"chunks": (3, 4, 8, 5), "label_chunks": (3, 8, 10), "zarr_format": 2},
}
OTHER_TABLES = ("thresholds.parquet", "class_pairs.parquet", "class_quality.parquet")
Reference = Callable[[Sequence[int]], Path]


@dataclass(frozen=True)
class Fault:
    """Fault of some images: expected status and reason, and a change of the arrays or of the store that causes it."""

    status: str
    reason: str
    images: Sequence[int]
    change: Callable[[Data], None] | None = None
    damage: Callable[[Source], None] | None = None


def set_pixel(*values: float) -> Callable[[Data], None]:
    """Set the probabilities of image 4 at (y=5, x=6), and worse ones below."""

    def change(data: Data) -> None:
        data.predictions[4, :, 5, 6] = values
        data.predictions[4, :, 7, 0] = np.nan

    return change


def labels(image: int, *values: int) -> Callable[[Data], None]:
    """Set labels of an image at (y=2, x=3), (y=2, x=4), ..."""

    def change(data: Data) -> None:
        data.labels[image, 2, 3 : 3 + len(values)] = values

    return change


def set_zeros(data: Data) -> None:
    data.predictions[3:6] = 0


def ignore_image(data: Data) -> None:
    data.labels[[0, 7]] = 255


FAULTS = {
    "predictions absent": Fault(
        "missing_chunk",
        r"(inner )?chunk .* of \S+/predictions does not exist",
        (3, 4, 5),
        damage=lambda source: erase_chunks(source.predictions, slice(3, 6)),
    ),
    "labels absent": Fault(
        "missing_chunk",
        r"(inner )?chunk .* of \S+/labels does not exist",
        (9, 10, 11),
        damage=lambda source: erase_chunks(source.labels, slice(9, 12)),
    ),
    "predictions cut short": Fault(
        "unreadable",
        r"chunk \S+ of \S+/predictions (does not decode \(.+\)|is truncated: .* bytes .* are expected)",
        (6, 7, 8, 9, 10, 11),
        damage=lambda source: truncate_array(source.predictions, 6),
    ),
    "labels cut short": Fault(
        "unreadable",
        r"chunk \S+ of \S+/labels (does not decode \(.+\)|is truncated: .* bytes where .* are expected)",
        (6, 7, 8, 9, 10, 11),
        damage=lambda source: truncate_array(source.labels, 6),
    ),
    "NaN": Fault(
        "bad_probabilities",
        "pixel (y=5, x=6): not all values are finite: [0.5, nan, 0.5, 0]",
        (4,),
        set_pixel(0.5, np.nan, 0.5, 0),
    ),
    "infinite": Fault(
        "bad_probabilities",
        "pixel (y=5, x=6): not all values are finite: [1, 0, 0, inf]",
        (4,),
        set_pixel(1, 0, 0, np.inf),
    ),
    "minus infinite": Fault(
        "bad_probabilities",
        "pixel (y=5, x=6): not all values are finite: [1, 0, 0, -inf]",
        (4,),
        set_pixel(1, 0, 0, -np.inf),
    ),
    "above one": Fault(
        "bad_probabilities",
        "pixel (y=5, x=6): a value is outside [0, 1]: [1.01, 0, 0, 0]",
        (4,),
        set_pixel(1.01, 0, 0, 0),
    ),
    "below zero": Fault(
        "bad_probabilities",
        "pixel (y=5, x=6): a value is outside [0, 1]: [-0.25, 0.5, 0.5, 0.25]",
        (4,),
        set_pixel(-0.25, 0.5, 0.5, 0.25),
    ),
    "sum too small": Fault(
        "bad_probabilities",
        "pixel (y=5, x=6): the values sum to 0.96875, more than 0.02 away from 1: [0.25, 0.5, 0.21875, 0]",
        (4,),
        set_pixel(0.25, 0.5, 0.21875, 0),
    ),
    "sum too large": Fault(
        "bad_probabilities",
        "pixel (y=5, x=6): the values sum to 1.5, more than 0.02 away from 1: [0.5, 0.5, 0.5, 0]",
        (4,),
        set_pixel(0.5, 0.5, 0.5, 0),
    ),
    "zeros that were written": Fault(
        "bad_probabilities",
        "pixel (y=0, x=0): the values sum to 0, more than 0.02 away from 1: [0, 0, 0, 0]",
        (3, 4, 5),
        set_zeros,
    ),
    "a label beyond the classes": Fault(
        "bad_labels",
        "label 4 at (y=2, x=3) is neither a class 0..3 nor an ignore value [255]; 3 such pixels",
        (1,),
        labels(1, 4, 17, 1, 254),
    ),
    "every pixel ignored": Fault("all_ignored", "every pixel is ignored", (0, 7), ignore_image),
}


def truncate_array(array: Path, first: int) -> None:
    """Truncate every object of an array that holds image ``first`` or a later one."""
    opened = zarr.open_array(array, mode="r")
    size = (opened.shards or opened.chunks)[0]
    for path in array.rglob("*"):
        number = re.match(r"(?:c/)?(\d+)[./]", str(path.relative_to(array)))
        if path.is_file() and number and int(number[1]) * size >= first:
            truncate_file(path, 0.3)


def make_input(**changes: Any) -> Data:
    data = make_data(seed=5, images=IMAGES, **changes)
    return data._replace(predictions=data.predictions.copy(), labels=data.labels.copy())


def names(images: Sequence[int] = range(IMAGES)) -> list[str]:
    return [f"scene-{i}" for i in images]


def run(folder: Path, fault: Fault, form: dict[str, Any]) -> Path:
    """Run over the data set with a fault and return the output directory."""
    data = make_input()
    if fault.change:
        fault.change(data)
    source = write_source(folder / "a.zarr", data, ids=names(), **form)
    if fault.damage:
        fault.damage(source)
    assert run_cli("run", "--source", source, "--out", folder / "out") == 3
    return folder / "out"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Return the output directory of a run over the data set without the faulty images."""
    runs: dict[tuple[int, ...], Path] = {}

    def find(images: Sequence[int]) -> Path:
        key = tuple(images)
        if key not in runs:
            folder = tmp_path_factory.mktemp("reference")
            scored = [i for i in range(IMAGES) if i not in key]
            source = write_source(folder / "a.zarr", drop_images(make_input(), key), ids=names(scored))
            assert run_cli("run", "--source", source, "--out", folder / "out") == 0
            runs[key] = folder / "out"
        return runs[key]

    return find


def read_masks(out: Path) -> Array:
    return np.asarray(zarr.open_array(out / "evidence/a.zarr/issue_mask", mode="r")[...])


def check_tables(out: Path, expected: Path, quarantined: dict[int, tuple[str, str]]) -> None:
    """Check the status and reason of the quarantined images, and that all others equal those of the run `expected`."""
    table = read_rows(out)
    assert [row["image_id"] for row in table] == names()
    assert [row["index"] for row in table] == list(range(IMAGES))
    for i, (status, reason) in quarantined.items():
        assert table[i]["status"] == status
        assert table[i]["reason"] == reason or re.fullmatch(reason, table[i]["reason"]), table[i]["reason"]
        counts = ("valid_pixels", "flagged_pixels", "worst_given", "worst_suggested", "worst_pixels")
        columns = (*score_names(), *counts, *WORST_REGION_COLUMNS.names)
        assert all(table[i][column] is None for column in columns)

    def without_index(row: dict[str, Any]) -> dict[str, Any]:
        return {column: value for column, value in row.items() if column != "index"}

    scored = [i for i in range(IMAGES) if i not in quarantined]
    assert [without_index(table[i]) for i in scored] == [without_index(row) for row in read_rows(expected)]
    assert [without_index(row) for row in read_rows(out, "ranking")] == [
        without_index(row) for row in read_rows(expected, "ranking")
    ]
    for other in OTHER_TABLES:
        assert read_rows(out, other) == read_rows(expected, other)
    np.testing.assert_array_equal(read_masks(out)[scored], read_masks(expected))
    assert not read_masks(out)[list(quarantined)].any()


# --------------------------------------------------------------------------------------------------- rows of the table


@pytest.mark.parametrize("form", ["chunks", "shards"])
@pytest.mark.parametrize("name", FAULTS)
def test_bad_image_is_quarantined_and_changes_no_other(
    name: str, form: str, tmp_path: Path, reference: Reference
) -> None:
    fault = FAULTS[name]
    out = run(tmp_path, fault, FORMS[form])
    check_tables(out, reference(fault.images), dict.fromkeys(fault.images, (fault.status, fault.reason)))


@pytest.mark.parametrize("form", FORMS)
def test_all_faults_in_one_run_are_quarantined(form: str, tmp_path: Path, reference: Reference) -> None:
    together = ("labels absent", "sum too small", "a label beyond the classes", "every pixel ignored")
    faults = [FAULTS[name] for name in together]
    quarantined = {i: (fault.status, fault.reason) for fault in faults for i in fault.images}

    def change(data: Data) -> None:
        for fault in faults:
            if fault.change:
                fault.change(data)

    out = run(tmp_path, Fault("", "", (), change, FAULTS["labels absent"].damage), FORMS[form])
    check_tables(out, reference(sorted(quarantined)), quarantined)


@pytest.mark.parametrize("array", ["predictions", "labels"])
def test_missing_shard_quarantines_only_its_images(array: str, tmp_path: Path, reference: Reference) -> None:
    def first(source: Source) -> None:
        source.chunk_file(array, *([0] * (4 if array == "predictions" else 3))).unlink()

    out = run(tmp_path, Fault("", "", (), damage=first), FORMS["shards"])
    status = ("missing_chunk", rf"shard c/0\S* of \S+/{array} does not exist")
    check_tables(out, reference(range(6)), dict.fromkeys(range(6), status))


@pytest.mark.parametrize("form", ["chunks", "shards"])
def test_missing_tile_quarantines_its_images(form: str, tmp_path: Path, reference: Reference) -> None:
    def lower_half(source: Source) -> None:
        erase_chunks(source.predictions, slice(3, 6), slice(0, 4), slice(4, 8))

    out = run(tmp_path, Fault("", "", (), damage=lower_half), FORMS[form])
    place = {"chunks": "chunk c/1/0/1/0", "shards": r"inner chunk \(1, 0, 1, 0\) of shard c/0/0/0/0"}[form]
    reason = rf"{place} of \S+/predictions does not exist"
    check_tables(out, reference((3, 4, 5)), dict.fromkeys((3, 4, 5), ("missing_chunk", reason)))


@pytest.mark.parametrize("codec", ["zstd", "blosc", "gzip", "none"])
@pytest.mark.parametrize("array", ["predictions", "labels"])
@pytest.mark.parametrize("form", ["chunks", "shards"])
def test_corrupt_chunk_is_unreadable_with_any_codec(
    codec: str, array: str, form: str, tmp_path: Path, reference: Reference
) -> None:
    bad = FAULTS[f"{array} cut short"]
    out = run(tmp_path, bad, {**FORMS[form], "codec": codec})
    check_tables(out, reference(bad.images), dict.fromkeys(bad.images, (bad.status, bad.reason)))


def test_image_with_several_faults_has_the_first_status(tmp_path: Path, reference: Reference) -> None:
    def change(data: Data) -> None:
        data.labels[:3] = 17
        data.labels[6] = 255
        data.labels[7, 0, 0] = 17
        data.predictions[6:8] = 0

    def damage(source: Source) -> None:
        erase_chunks(source.predictions, slice(0, 3))
        truncate_file(source.chunk_file("labels", 1, 0, 0), 0.5)
        erase_chunks(source.predictions, slice(3, 6))

    out = run(tmp_path, Fault("", "", (), change, damage), FORMS["chunks"])
    absent = ("missing_chunk", r"chunk c/\d/0/0/0 of \S+/predictions does not exist")
    quarantined = dict.fromkeys(range(6), absent) | {
        6: ("bad_probabilities", "pixel (y=0, x=0): the values sum to 0, more than 0.02 away from 1: [0, 0, 0, 0]"),
        7: ("bad_labels", "label 17 at (y=0, x=0) is neither a class 0..3 nor an ignore value [255]; 1 such pixel"),
    }
    check_tables(out, reference(range(8)), quarantined)


@pytest.mark.parametrize("what", ["absent", "ignored"])
def test_data_set_of_bad_images_has_image_rows_and_an_empty_ranking(what: str, tmp_path: Path) -> None:
    def ignore_all(data: Data) -> None:
        data.labels[:] = 255

    def remove_chunks(source: Source) -> None:
        erase_chunks(source.predictions)

    fault = Fault("", "", (), damage=remove_chunks) if what == "absent" else Fault("", "", (), change=ignore_all)
    out = run(tmp_path, fault, FORMS["chunks"])
    assert {row["status"] for row in read_rows(out)} == {"missing_chunk" if what == "absent" else "all_ignored"}
    assert len(read_rows(out)) == IMAGES
    assert read_rows(out, "ranking") == read_rows(out, "class_pairs.parquet") == []
    for row in read_rows(out, "thresholds.parquet"):
        assert (row["pixels"], row["sum"], row["confident_threshold"], row["decision_threshold"]) == (
            0,
            0.0,
            None,
            None,
        )
    assert not read_masks(out).any()


# --------------------------------------------------------------------------------------------------------- valid input


def run_and_read(
    folder: Path, data: Data, damage: Callable[[Source], None] | None = None, *flags: str, **form: Any
) -> Path:
    """The results of a run in which nothing is quarantined."""
    source = write_source(folder / "a.zarr", data, **form)
    if damage:
        damage(source)
    assert run_cli("run", "--source", source, "--out", folder / "out", *flags) == 0
    return folder / "out"


def rows_without_ids(out: Path, table: str = "images") -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "image_id"} for row in read_rows(out, table)]


def test_values_within_the_tolerances_are_scored(tmp_path: Path) -> None:
    data = make_input()
    data.predictions[4, :, 0, :4] = np.array(
        [[0.985, 0, 0, 0], [1.015, 0, 0, 0], [1.0005, 0, 0, 0], [1, -0.0005, 0, 0]]
    ).T
    data.predictions[4, :, 0, 1] = [0.515, 0.5, 0, 0]
    assert {row["status"] for row in read_rows(run_and_read(tmp_path, data))} == {"scored"}


@pytest.mark.parametrize(("step", "code"), [(6, 0), (9, 3)])
def test_sum_of_integer_probabilities_may_differ_by_half_a_step_per_class(step: int, code: int, tmp_path: Path) -> None:
    data = make_input(dtype="uint8")
    data.predictions[4, :, 1, 2] = [255 - step, 0, 0, 0]
    source = write_source(tmp_path / "a.zarr", data)
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == code
    reason = "pixel (y=1, x=2): the values sum to 0.964706, more than 0.02784 away from 1: [0.964706, 0, 0, 0]"
    assert read_rows(tmp_path / "out")[4]["reason"] == (reason if code else None)


def test_configured_sum_tolerance_is_used(tmp_path: Path) -> None:
    data = make_input()
    data.predictions[4, :, 5, 6] = [0.5, 0.5, 0.5, 0]
    assert {row["status"] for row in read_rows(run_and_read(tmp_path, data, None, "--sum-tolerance", "0.6"))} == {
        "scored"
    }


def test_negative_label_is_bad_unless_ignored(tmp_path: Path) -> None:
    data = make_input()._replace(ignore=())
    signed = data._replace(labels=np.where(data.labels == 255, 0, data.labels).astype("int16"))
    signed.labels[8, 1, 2] = -1
    source = write_source(tmp_path / "a.zarr", signed)
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 3
    reason = "label -1 at (y=1, x=2) is neither a class 0..3, and no ignore value is given; 1 such pixel"
    assert read_rows(tmp_path / "out")[8]["reason"] == reason
    assert run_cli("run", "--source", source, "--out", tmp_path / "ignored", "--ignore", "-1") == 0


@pytest.mark.parametrize("form", ["chunks", "shards"])
def test_missing_label_chunk_with_ignored_fill_value_is_ignored(form: str, tmp_path: Path) -> None:
    """Some label stores write no chunk without labels."""
    forms: dict[str, Any] = {**FORMS[form], "label_chunks": (3, 4, 10), "label_fill": 255}
    data = make_input()
    filled = data._replace(labels=data.labels.copy())
    filled.labels[3:6, 4:] = 255
    (tmp_path / "expected").mkdir()
    out = run_and_read(tmp_path, data, lambda source: erase_chunks(source.labels, slice(3, 6), slice(4, 8)), **forms)
    assert read_rows(out) == read_rows(run_and_read(tmp_path / "expected", filled, **forms))
    for other in OTHER_TABLES:
        assert read_rows(out, other) == read_rows(tmp_path / "expected/out", other)


@pytest.mark.parametrize("how", ["attribute", "flag"])
@pytest.mark.parametrize("form", ["chunks", "shards"])
def test_missing_label_chunk_has_the_fill_value_if_the_source_declares_it(form: str, how: str, tmp_path: Path) -> None:
    data = make_input()
    filled = data._replace(labels=data.labels.copy())
    filled.labels[3:6] = 0
    (tmp_path / "expected").mkdir()
    attributes = {"attributes": {"ignore": [255], "empty_label_chunks": "fill"}} if how == "attribute" else {}
    flags = () if how == "attribute" else ("--arrays.empty_label_chunks", "fill")
    out = run_and_read(
        tmp_path, data, lambda source: erase_chunks(source.labels, slice(3, 6)), *flags, **FORMS[form], **attributes
    )
    assert read_rows(out) == read_rows(run_and_read(tmp_path / "expected", filled, **FORMS[form]))
