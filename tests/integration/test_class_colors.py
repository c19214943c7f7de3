"""Colors of classes: from a source's attribute to the report, pictures and exports, without any effect on results."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from PIL import Image

import masksift
from masksift.config.sections import StorageSection
from masksift.core.errors import DataError
from masksift.engine.completed_run import open_completed_run
from masksift.engine.image_views import ImageView
from masksift.prepare.writers.evidence import EvidenceWriter
from masksift.prepare.writers.predictions import PredictionWriter
from masksift.review.rendering.panels import make_legend, make_panels
from masksift.storage.sources.dataset import open_data_set
from masksift.storage.sources.overrides import Overrides
from prepare.ingest.helpers import InputFiles
from review.helpers import read_record, run_sources
from support.cli import exit_code, run_cli
from support.errors import raises
from support.sources import make_data, write_source

COLORS = [[0, 0, 0], [255, 255, 255], [9, 8, 7], [9, 8, 7]]
"""Black and white, which also stand for pixels without a class, and one color of two classes."""
NAMES = ("road", "sky", "car", "tree")


def attributes(colors: Any = COLORS) -> dict[str, Any]:
    return {"class_names": list(NAMES), "ignore": [255], "class_colors": colors}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run on a source without colors, `s.zarr` next to it."""
    path = tmp_path_factory.mktemp("colors")
    return run_sources(path / "plain", write_source(path / "s.zarr", attributes=attributes(None)))


@pytest.fixture(scope="module")
def out(plain: Path) -> Path:
    """Run on the same source with colors."""
    zarr.open_group(plain.parent / "s.zarr", mode="r+").attrs["class_colors"] = COLORS
    return run_sources(plain.parent / "out", plain.parent / "s.zarr")


def export(out: Path, name: str, *args: object) -> Path:
    directory = out.parent / name
    assert exit_code("export", name, out, "--out", directory, *args) == 0
    return directory


def test_results_do_not_depend_on_colors(plain: Path, out: Path) -> None:
    files = [file.relative_to(plain) for file in plain.glob("**/*.parquet") if file.name != "sources.parquet"]
    assert len(files) > 5
    for file in files:
        assert (plain / file).read_bytes() == (out / file).read_bytes(), file
    assert read_record(plain)["fingerprint"] == read_record(out)["fingerprint"]


def test_base_with_other_colors_is_reused(out: Path) -> None:
    source = write_source(out.parent / "again" / "s.zarr", attributes=attributes())
    first = run_sources(out.parent / "first", source)
    group = zarr.open_group(source.path, mode="r+")
    group.attrs["class_colors"] = COLORS[::-1]
    second = run_sources(out.parent / "second", source, args=("--base", first))
    assert read_record(second)["stages"][0]["bytes_read"] < read_record(first)["stages"][0]["bytes_read"]
    assert open_completed_run(str(second), StorageSection()).class_colors == tuple(map(tuple, COLORS[::-1]))


def test_report_page_has_the_colors(out: Path) -> None:
    text = (out / "report" / "data" / "run.js").read_text()
    summary = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    assert [row["color"] for row in summary["classes"]] == ["#000000", "#ffffff", "#090807", "#090807"]
    pictures = sorted((out / "report" / "pictures").glob("*.png"))
    with Image.open(pictures[0]) as image:
        assert np.reshape(image.getpalette(), (-1, 3))[1:5].tolist() == COLORS


def test_label_map_of_cvat_keeps_colors_that_are_distinct(out: Path) -> None:
    directory = export(out, "cvat-mask")
    expected = [[0, 0, 1], [255, 255, 255], [9, 8, 7], [0, 0, 2]]
    with zipfile.ZipFile(directory / "dataset.zip") as archive:
        lines = archive.read("labelmap.txt").decode().splitlines()[1:]
        mask = next(name for name in archive.namelist() if name.startswith("SegmentationClass/"))
        pixels = np.asarray(Image.open(io.BytesIO(archive.read(mask))))
    assert lines == [
        "background:0,0,0::",
        *(f"{name}:{','.join(map(str, color))}::" for name, color in zip(NAMES, expected, strict=True)),
    ]
    assert {*map(tuple, pixels.reshape(-1, 3).tolist())} <= {(0, 0, 0), *map(tuple, expected)}
    labels = json.loads((directory / "labels.json").read_bytes())
    assert [label["color"] for label in labels] == ["#000001", "#ffffff", "#090807", "#000002"]


def test_exports_have_the_colors(out: Path) -> None:
    hexadecimal = ["#000000", "#ffffff", "#090807", "#090807"]
    directory = export(out, "cvat", "--pictures", "false")
    assert [label["color"] for label in json.loads((directory / "labels.json").read_bytes())] == hexadecimal
    assert "<color>#090807</color>" in (directory / "annotations.xml").read_text()
    interface = (export(out, "label-studio") / "label_config.xml").read_text()
    assert interface.count('background="#090807"') == 2
    tree = json.loads((export(out, "datumaro", "--pictures", "false") / "annotations" / "default.json").read_bytes())
    assert tree["categories"]["mask"]["colormap"][2] == {"label_id": 2, "r": 9, "g": 8, "b": 7}


def test_colored_labels_of_an_export_have_the_colors(out: Path) -> None:
    images = [*(export(out, "fiftyone") / "data").rglob("*.png")]
    found = {color for file in images for color in map(tuple, np.asarray(Image.open(file)).reshape(-1, 3).tolist())}
    assert found == {(0, 0, 0), (255, 255, 255), (9, 8, 7)}


def test_panels_and_legend_have_the_colors_and_two_others_for_pixels_without_a_class() -> None:
    given, colors = np.array([[0, 1, 2, 255, 77]], np.uint8), tuple((r, g, b) for r, g, b in COLORS)
    view = ImageView((1, 5), 1, None, given, None, None)
    assert make_panels(view, 4, colors)["given labels"].tolist() == [[*COLORS[:3], [127, 127, 127], [63, 63, 63]]]
    legend = {name: [round(255 * level) for level in color] for name, color in make_legend(view, NAMES, colors).items()}
    others = {"(no label)": [127, 127, 127], "(no class)": [63, 63, 63]}
    assert legend == {"road": COLORS[0], "sky": COLORS[1], "car": COLORS[2], **others}


@pytest.mark.parametrize("writer_class", [EvidenceWriter, PredictionWriter])
def test_writers_store_colors(tmp_path: Path, writer_class: Any) -> None:
    data, colors = make_data(images=2), np.arange(12, dtype=np.uint8).reshape(4, 3)
    args: dict[str, Any] = {"images": 2, "height": 8, "width": 10, "classes": NAMES, "ignore": 255}
    with writer_class(str(tmp_path / "a.zarr"), **args, class_colors=colors) as writer:
        writer.write(data.predictions, data.labels)
    assert zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["class_colors"] == colors.tolist()
    (spec,) = open_data_set([str(tmp_path / "a.zarr")], Overrides(), {})
    assert spec.class_colors == tuple(map(tuple, colors.tolist()))
    with raises(DataError, match="class_colors has 3 colors for 4 classes"):
        writer_class(str(tmp_path / "b.zarr"), **args, class_colors=colors[:3])


@pytest.mark.parametrize(
    ("colors", "match"),
    [
        ("red", 'class_colors of .*s.zarr is "red", but must be a list. Write one'),
        (COLORS[:3], "class_colors of .*s.zarr has 3 colors for 4 classes"),
        ([*COLORS[:3], [1, 2]], r"class_colors of .*s.zarr has \[1, 2\] for class 3"),
        ([*COLORS[:3], [1, 2, 256]], r"class_colors of .*s.zarr has \[1, 2, 256\] for class 3"),
        ([*COLORS[:3], [1, 2, 0.5]], r"class_colors of .*s.zarr has \[1, 2, 0.5\] for class 3"),
    ],
)
def test_invalid_colors_are_refused(tmp_path: Path, colors: Any, match: str) -> None:
    source = write_source(tmp_path / "s.zarr", attributes=attributes(colors))
    with raises(DataError, match=match):
        open_data_set([str(source)], Overrides(), {})


def test_colors_of_a_run_are_those_of_the_first_source_that_has_any(tmp_path: Path) -> None:
    for name, colors in (("a", None), ("b", COLORS), ("c", COLORS[::-1])):
        write_source(tmp_path / f"{name}.zarr", attributes=attributes(colors))
    out = run_sources(tmp_path / "out", tmp_path / "*.zarr")
    run = open_completed_run(str(out), StorageSection())
    assert {spec.class_colors for spec in run.tasks.sources} == {tuple(map(tuple, COLORS))}


def test_ingest_writes_the_first_color_of_each_class(tmp_path: Path) -> None:
    inputs = InputFiles(tmp_path)
    rows = ["tree,1,2,3", "road,4,5,6", "road,40,50,60", "sky,7,8,9", "car,10,11,12", "ignore,0,0,0"]
    (tmp_path / "colors.csv").write_text("\n".join(rows))
    args = inputs.args("--classes", "road,sky,car,tree", "--colors", tmp_path / "colors.csv")
    assert run_cli("ingest", *args) == 0
    written = zarr.open_group(inputs.out, mode="r").attrs["class_colors"]
    assert written == [[4, 5, 6], [7, 8, 9], [10, 11, 12], [1, 2, 3]]


def test_audit_of_arrays_saves_colors(tmp_path: Path) -> None:
    data = make_data(images=2)
    audit = masksift.audit(data.labels, data.predictions, ignore=255, class_colors=np.array(COLORS, np.uint8))
    audit.save(str(tmp_path / "out"), source=str(tmp_path / "s.zarr"), top=0)
    assert open_completed_run(str(tmp_path / "out"), StorageSection()).class_colors == tuple(map(tuple, COLORS))
    with raises(DataError, match="class_colors has 1 colors for 4 classes"):
        masksift.audit(data.labels, data.predictions, ignore=255, class_colors=COLORS[:1])
