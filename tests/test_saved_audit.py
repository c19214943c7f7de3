"""An audit that is saved is a run: its tables are those of a run on the same data, and every command reads it."""

from __future__ import annotations

import gc
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

import masksift
from masksift.core.errors import UsageError
from review.report.report_files import Page
from support.cli import exit_code, run_cli
from support.datasets import make_dataset
from support.errors import raises
from support.results import read_rows

DATA = make_dataset(5, images=6, classes=4, height=33, width=41, dtype="float32", ignored_image=2)
LABELS, PREDICTIONS = DATA.labels, DATA.predictions
RGB = np.random.default_rng(0).integers(0, 256, (*LABELS.shape, 3), np.uint8)
NAMES = ["road", "car", "sky & more", "<tree>"]
FILES = ("thresholds.parquet", "class_pairs.parquet", "class_quality.parquet")


def read_tables(out: Path) -> dict[str, Any]:
    """Read all tables of a run, and its issue masks."""
    tables: dict[str, Any] = {name: pq.read_table(out / name).to_pylist() for name in FILES}
    for name in ("ranking", "regions"):
        tables[name] = [
            row for path in sorted((out / name).glob("*.parquet")) for row in pq.read_table(path).to_pylist()
        ]
    tables["images"] = read_rows(out)
    (group,) = (out / "evidence").glob("*.zarr")
    tables["masks"] = np.asarray(zarr.open_group(group, mode="r")["issue_mask"]).tobytes()
    return tables


def write_predictions(url: Path, labels: Any, predictions: Any, **options: Any) -> None:
    """Write the same data as a source of predictions."""
    sizes = [one.shape for one in labels]
    height, width = np.max(sizes, axis=0)
    padded = len(set(sizes)) > 1
    with masksift.PredictionWriter(
        str(url), images=len(labels), height=height, width=width, classes=4, padded=padded, **options
    ) as writer:
        for i, (label, prediction) in enumerate(zip(labels, predictions, strict=True)):
            margin = ((0, height - label.shape[0]), (0, width - label.shape[1]))
            given, values = np.pad(label, margin), np.pad(prediction, ((0, 0), *margin))
            writer.write(values[None], given[None], [str(i)], sizes=[label.shape] if padded else None)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("float32", {}),
        ("float32", {"evidence_dtype": "float32", "rank_by": "ccp", "temperature": 0.05, "tau": 0.4, "min_area": 4}),
        ("uint8", {"methods": ["softmin", "omission"], "rule": "confident"}),
        ("logits", {"kind": "logits"}),
        ("sizes", {}),
    ],
)
def test_saved_audit_has_the_tables_of_a_run(form: str, options: dict[str, Any], tmp_path: Path) -> None:
    labels, predictions = list(LABELS), list(PREDICTIONS)
    if form == "uint8":
        predictions = list(make_dataset(5, images=6, classes=4, height=33, width=41, dtype="uint8").predictions)
    elif form == "logits":
        predictions = [np.log(one + np.float32(1e-4)) for one in predictions]
    elif form == "sizes":
        sizes = [(33, 41), (20, 41), (33, 9), (1, 1), (30, 30), (33, 41)]
        labels = [one[:h, :w] for one, (h, w) in zip(labels, sizes, strict=True)]
        predictions = [one[:, :h, :w] for one, (h, w) in zip(predictions, sizes, strict=True)]
    predictions[4] = predictions[4] * np.nan if predictions[4].dtype.kind == "f" else predictions[4] // 2
    audit = masksift.audit(labels, predictions, ignore=255, **options)
    assert audit.save(str(tmp_path / "saved/run"), source=str(tmp_path / "saved/a.zarr")) == str(tmp_path / "saved/run")
    dtype, kind = predictions[0].dtype.name, options.get("kind", "probabilities")
    write_predictions(tmp_path / "written/a.zarr", labels, predictions, dtype=dtype, kind=kind, ignore=255)
    record = json.loads((tmp_path / "saved/run/run.json").read_text())
    flags = []
    for name in (
        "methods",
        "rank_by",
        "softmin.temperature",
        "tccp.tau",
        "clc.rule",
        "regions.min_area",
        "evidence.dtype",
    ):
        value: Any = record["configuration"]
        for key in name.split("."):
            value = value[key]
        flags += [f"--{name}", ",".join(value) if isinstance(value, list) else value]
    written = tmp_path / "written"
    assert run_cli("run", "--source", written / "a.zarr", "--out", written / "run", "--max_quarantined", 9, *flags) == 0
    saved = read_tables(tmp_path / "saved/run")
    assert saved == read_tables(written / "run")
    for name, table in (("images", audit.images), ("ranking", audit.ranking), ("regions", audit.regions)):
        in_memory = [{**row, "source": "a"} for row in table.to_pylist()]
        assert in_memory == saved[name], name


def test_saved_ensemble_has_the_tables_of_the_audit(tmp_path: Path) -> None:
    other = make_dataset(6, images=6, classes=4, height=33, width=41, dtype="uint8").predictions
    audit = masksift.audit(LABELS, [PREDICTIONS, other], ignore=255)
    audit.save(str(tmp_path / "run"))
    saved = read_tables(tmp_path / "run")
    for name, table in (("images", audit.images), ("ranking", audit.ranking), ("regions", audit.regions)):
        assert [{**row, "source": "run-source"} for row in table.to_pylist()] == saved[name], name
    assert audit.thresholds.to_pylist() == saved["thresholds.parquet"]


@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_saved_audit_of_two_classes_has_the_tables_of_the_audit(kind: str, tmp_path: Path) -> None:
    positive = PREDICTIONS[:, 1] if kind == "probabilities" else np.log(PREDICTIONS[:, 1] + np.float32(1e-3))
    audit = masksift.audit((LABELS == 1) * 255, positive, kind=kind)
    audit.save(str(tmp_path / "run"), source=str(tmp_path / "memory.zarr"))
    saved = read_tables(tmp_path / "run")
    assert audit.images.to_pylist() == saved["images"]
    assert audit.regions.to_pylist() == saved["regions"]
    stored = np.asarray(zarr.open_group(tmp_path / "memory.zarr", mode="r")["labels"])
    np.testing.assert_array_equal(stored, LABELS == 1)


def test_masked_and_boolean_labels_are_saved(tmp_path: Path) -> None:
    mask = LABELS == 255
    masked = np.ma.array(np.where(mask, 0, LABELS), mask=mask)
    masksift.audit(masked, PREDICTIONS).save(str(tmp_path / "masked"))
    masksift.audit(LABELS, PREDICTIONS, ignore=255).save(str(tmp_path / "plain"))
    tables = [read_tables(tmp_path / name) for name in ("masked", "plain")]
    assert tables[0]["thresholds.parquet"] == tables[1]["thresholds.parquet"]
    stored = np.asarray(zarr.open_group(tmp_path / "masked-source.zarr", mode="r")["labels"])
    np.testing.assert_array_equal(stored, np.where(mask, -1, LABELS.astype(int)))
    masksift.audit(LABELS == 1, PREDICTIONS).save(str(tmp_path / "boolean"), top=0)
    assert not (tmp_path / "boolean/report").exists()


@pytest.fixture(scope="module")
def audit() -> masksift.Audit:
    ids = [f"scene {i}" for i in range(6)]
    return masksift.audit(LABELS, PREDICTIONS, ignore=255, class_names=NAMES, image_ids=ids, images=RGB)


@pytest.fixture(scope="module")
def saved(audit: masksift.Audit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "run"
    audit.save(str(path))
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ("top", "RUN"),
        ("show", "RUN", "scene 1", "--out", "scene.png"),
        ("report", "RUN", "--top", "3", "--executor.kind", "serial"),
        ("export", "cvat", "RUN", "--out", "cvat"),
        ("compare", "RUN", "RUN"),
        ("check", "RUN", "--max_quarantined", "9"),
        ("score", "RUN", "--out", "again", "--softmin.temperature", "0.05", "--executor.kind", "serial"),
        (
            "run",
            "--source",
            "RUN-source.zarr",
            "--out",
            "repeated",
            "--max_quarantined",
            "9",
            "--executor.kind",
            "serial",
        ),
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_take_a_saved_audit(
    arguments: tuple[str, ...], saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(*(text.replace("RUN", str(saved)) for text in arguments)) in (0, 3)


def test_saved_audit_holds_the_rgb_images_of_its_report(audit: masksift.Audit, tmp_path: Path) -> None:
    audit.save(str(tmp_path / "run"), source=str(tmp_path / "a.zarr"))
    np.testing.assert_array_equal(np.asarray(zarr.open_group(tmp_path / "a.zarr", mode="r")["images"]), RGB)
    assert [row["picture"] for row in Page(tmp_path / "run").rows] == [True] * 6


def test_urls_in_use_are_refused(audit: masksift.Audit, tmp_path: Path) -> None:
    audit.save(str(tmp_path / "run"), top=0)
    before = sorted(tmp_path.rglob("*"))
    with raises(UsageError, r"run is in use: it contains .*\. Pass another URL"):
        audit.save(str(tmp_path / "run"), source=str(tmp_path / "other.zarr"))
    with raises(UsageError, r"run-source\.zarr is in use"):
        audit.save(str(tmp_path / "new"), source=str(tmp_path / "run-source.zarr"))
    with raises(UsageError, r"^url .* contains the input"):
        audit.save(str(tmp_path / "new"), source=str(tmp_path / "new/source.zarr"))
    assert sorted(tmp_path.rglob("*")) == before


def test_report_is_a_page_of_its_own(audit: masksift.Audit, tmp_path: Path) -> None:
    for _ in range(2):  # a cell of a notebook runs again
        assert audit.report(tmp_path / "page/report", top=3) == f"{tmp_path}/page/report/index.html"
    page = (tmp_path / "page/report/index.html").read_text()
    for name in re.findall(r'(?:src|href)="([\w./-]+)"', page):
        assert (tmp_path / "page/report" / name).is_file(), name
    copied = Page(tmp_path / "page")
    assert [row["picture"] for row in copied.rows] == [True] * 4, "three ranked images and a quarantined one"
    assert [copied.rgb(number).ndim for number in range(4)] == [3] * 4
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/notes.txt").touch()
    with raises(UsageError, r"foreign contains other files \(notes\.txt\)\. Pass a new directory"):
        audit.report(str(tmp_path / "foreign"))


def files_of(directory: Path) -> list[str]:
    """Names of the files of an export."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_export_writes_the_files_of_the_command(audit: masksift.Audit, saved: Path, tmp_path: Path) -> None:
    for form in ("cvat", "label-studio", "fiftyone"):
        text = audit.export(form, str(tmp_path / form), top=5, min_area=2)
        assert text.startswith(f"{form}: 5 regions of ")
        out = tmp_path / f"{form}-command"
        command = ("export", form, saved, "--out", out, "--top", 5, "--min_area", 2, "--log-format", "quiet")
        assert exit_code(*command) == 0
        assert files_of(out) == files_of(tmp_path / form)
    with raises(UsageError, r"There is no export format 'yolo'\. Pass one of coco, cvat"):
        audit.export("yolo", str(tmp_path / "yolo"))
    with pytest.raises(UsageError, match=r"new or empty directory") as caught:
        audit.export("cvat", str(tmp_path / "label-studio"))
    assert "--" not in str(caught.value)


def test_temporary_run_is_removed_with_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    audit = masksift.audit(LABELS, PREDICTIONS, ignore=255)
    audit.export("cvat", str(tmp_path / "cvat"))
    assert list(tmp_path.glob("masksift-audit-*"))
    del audit
    gc.collect()
    assert not list(tmp_path.glob("masksift-audit-*"))


# ----------------------------------------------------------------------------------------------------- notebook


class Cells(HTMLParser):
    """Collect texts and pictures of a table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts, self.pictures, self.tags = list[str](), list[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.pictures += [value or "" for name, value in attrs if name == "src"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_notebook_shows_the_worst_images_with_pictures(audit: masksift.Audit) -> None:
    cells = Cells(audit._repr_html_())
    assert cells.texts[0] == "6 images, 1 quarantined; the worst 5:"
    worst = audit.ranking.to_pylist()
    assert [text for text in cells.texts if text.startswith("scene")] == [row["image_id"] for row in worst]
    assert len(cells.pictures) == 5
    assert all(source.startswith("data:image/png;base64,") for source in cells.pictures)
    assert {"<tree>", "sky & more"} & set(cells.texts), "names are escaped"
    assert "tree" not in cells.tags
    without = Cells(masksift.audit(LABELS, PREDICTIONS, ignore=255)._repr_html_())
    assert without.pictures == []


@pytest.mark.parametrize(("progress", "shown"), [(None, False), (True, True), (False, False)])
def test_progress_is_shown_on_request(progress: bool | None, shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    masksift.audit(LABELS, PREDICTIONS, ignore=255, progress=progress)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("audit      6/6 images" in printed.err) == shown
    assert ("1 quarantined" in printed.err) == shown
