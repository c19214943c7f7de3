"""`masksift import` of formats with shapes: only edited shapes change labels, and they change exactly their pixels."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masksift.review.export.fiftyone import _binary
from masksift.review.export.run_length import label_studio_rle, row_run_lengths
from masksift.review.file_names import xml_safe
from review.export.helpers import CLASSES, DATED, ExportedRun, coco_run_lengths, export
from review.imports.helpers import changed_pixels, import_file, paint
from support.cli import error_message, run_cli
from support.datasets import Array

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools


class EditedFile:
    """File of one format, which a test edits as a tool would.

    Attributes:
        form: Format of the import.
        file: File or directory to import.
    """

    form: str
    file: Path

    @abstractmethod
    def relabel(self, rank: int, name: str) -> None:
        """Give the shape of a region another label."""

    @abstractmethod
    def reshape(self, rank: int, mask: Array) -> None:
        """Draw the shape of a region again."""

    @abstractmethod
    def delete(self, *ranks: int) -> None:
        """Delete the shapes of regions."""

    @abstractmethod
    def add(self, like: int, mask: Array, name: str) -> None:
        """Add a shape to the image of a region."""

    @abstractmethod
    def save(self) -> None:
        """Write the file."""


class CvatFile(EditedFile):
    form = "cvat"

    def __init__(self, out: Path) -> None:
        self.file = out / "annotations.xml"
        self.root = ET.parse(self.file).getroot()

    def find(self, rank: int) -> tuple[ET.Element, ET.Element]:
        for image in self.root.iter("image"):
            for mask in image.iter("mask"):
                if mask.findtext("attribute[@name='rank']") == str(rank):
                    return image, mask
        raise LookupError(rank)

    def relabel(self, rank: int, name: str) -> None:
        self.find(rank)[1].set("label", name)

    def reshape(self, rank: int, mask: Array) -> None:
        self.find(rank)[1].attrib.update(self.facts(mask))

    @staticmethod
    def facts(mask: Array) -> dict[str, str]:
        rle = ", ".join(map(str, row_run_lengths(mask)))
        return {"rle": rle, "left": "0", "top": "0", "width": str(mask.shape[1]), "height": str(mask.shape[0])}

    def delete(self, *ranks: int) -> None:
        for rank in ranks:
            image, mask = self.find(rank)
            image.remove(mask)

    def add(self, like: int, mask: Array, name: str) -> None:
        facts = {"label": name, "source": "manual", "z_order": "1", **self.facts(mask)}
        ET.SubElement(self.find(like)[0], "mask", facts)

    def save(self) -> None:
        ET.ElementTree(self.root).write(self.file, encoding="utf-8")


class JsonFile(EditedFile):
    """File of JSON, with a list of shapes per image."""

    def __init__(self, out: Path) -> None:
        self.file = out / self.path
        self.tree = json.loads(self.file.read_text())

    path: str

    @abstractmethod
    def lists(self) -> Iterator[list[dict[str, Any]]]:
        """Yield the lists of shapes."""

    @abstractmethod
    def rank(self, shape: dict[str, Any]) -> int:
        """Rank of the region that was exported as a shape."""

    @abstractmethod
    def set_mask(self, shape: dict[str, Any], mask: Array) -> None:
        """Change the mask of a shape."""

    @abstractmethod
    def set_label(self, shape: dict[str, Any], name: str) -> None:
        """Change the label of a shape."""

    def forget(self, shape: dict[str, Any]) -> None:
        """Remove what tells that the shape was exported."""

    def find(self, rank: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        return next((shapes, shape) for shapes in self.lists() for shape in shapes if self.rank(shape) == rank)

    def relabel(self, rank: int, name: str) -> None:
        self.set_label(self.find(rank)[1], name)

    def reshape(self, rank: int, mask: Array) -> None:
        self.set_mask(self.find(rank)[1], mask)

    def delete(self, *ranks: int) -> None:
        for rank in ranks:
            shapes, shape = self.find(rank)
            shapes.remove(shape)

    def add(self, like: int, mask: Array, name: str) -> None:
        shapes, shape = self.find(like)
        new = json.loads(json.dumps(shape))
        self.set_mask(new, mask)
        self.set_label(new, name)
        self.forget(new)
        shapes.append(new)

    def save(self) -> None:
        self.file.write_text(json.dumps(self.tree))


class CocoFile(JsonFile):
    form, path = "coco", "annotations/instances_default.json"

    def lists(self) -> Iterator[list[dict[str, Any]]]:
        yield self.tree["annotations"]

    def rank(self, shape: dict[str, Any]) -> int:
        return int(shape["attributes"].get("rank", 0))

    def set_mask(self, shape: dict[str, Any], mask: Array) -> None:
        shape["segmentation"] = {"size": list(mask.shape), "counts": coco_run_lengths(mask)}

    def set_label(self, shape: dict[str, Any], name: str) -> None:
        shape["category_id"] = next(entry["id"] for entry in self.tree["categories"] if entry["name"] == name)

    def forget(self, shape: dict[str, Any]) -> None:
        shape["attributes"] = {}
        shape["id"] = 1000


class DatumaroFile(JsonFile):
    form, path = "datumaro", "annotations/default.json"

    def lists(self) -> Iterator[list[dict[str, Any]]]:
        yield from (item["annotations"] for item in self.tree["items"])

    def rank(self, shape: dict[str, Any]) -> int:
        return int(shape["attributes"].get("rank", 0))

    def set_mask(self, shape: dict[str, Any], mask: Array) -> None:
        shape["rle"] = {"size": list(mask.shape), "counts": coco_run_lengths(mask)}

    def set_label(self, shape: dict[str, Any], name: str) -> None:
        names = [entry["name"] for entry in self.tree["categories"]["label"]["labels"]]
        shape["label_id"] = names.index(name)

    def forget(self, shape: dict[str, Any]) -> None:
        shape["attributes"] = {}


class LabelStudioFile(JsonFile):
    """Tasks whose predictions are submitted as annotations, unless a test changes that."""

    form, path = "label-studio", "tasks.json"

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        for task in self.tree:
            task["annotations"] = [{"result": task.pop("predictions")[0]["result"], "was_cancelled": False}]

    def lists(self) -> Iterator[list[dict[str, Any]]]:
        yield from (task["annotations"][0]["result"] for task in self.tree if task["annotations"])

    def rank(self, shape: dict[str, Any]) -> int:
        return int(shape["meta"].get("rank", 0))

    def set_mask(self, shape: dict[str, Any], mask: Array) -> None:
        shape["value"]["rle"] = label_studio_rle(mask, (0, 0), mask.shape)

    def set_label(self, shape: dict[str, Any], name: str) -> None:
        shape["value"]["brushlabels"] = [name]

    def forget(self, shape: dict[str, Any]) -> None:
        shape["meta"] = {}

    def submit(self, *ranks: int) -> None:
        """Leave all tasks as they were imported but those with these regions."""
        for task in self.tree:
            if {self.rank(shape) for shape in task["annotations"][0]["result"]}.isdisjoint(ranks):
                task["annotations"] = []


class FiftyOneFile(JsonFile):
    form, path = "fiftyone", "samples.json"

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self.directory, self.samples = out, self.file

    def lists(self) -> Iterator[list[dict[str, Any]]]:
        yield from (sample["regions"]["detections"] for sample in self.tree["samples"])

    def rank(self, shape: dict[str, Any]) -> int:
        return int(shape.get("rank") or 0)

    def set_mask(self, shape: dict[str, Any], mask: Array) -> None:
        shape["bounding_box"], shape["mask"] = [0.0, 0.0, 1.0, 1.0], _binary(mask)

    def set_label(self, shape: dict[str, Any], name: str) -> None:
        shape["label"] = name

    def forget(self, shape: dict[str, Any]) -> None:
        del shape["rank"]


@pytest.fixture(params=[CvatFile, CocoFile, DatumaroFile, FiftyOneFile])
def edited(request: pytest.FixtureRequest, run: ExportedRun, tmp_path: Path) -> EditedFile:
    """Fresh export in each format."""
    form = request.param.form
    assert export(form, run.out, tmp_path / "export") == 0
    file: EditedFile = request.param(tmp_path / "export")
    return file


def import_edited(edited: EditedFile, run: ExportedRun, tmp_path: Path, *args: object) -> dict[str, Any]:
    edited.save()
    return import_file(edited.form, edited.file, run, tmp_path / "fixed", *args)


def label(edited: EditedFile, k: int) -> str:
    """Label of a class in the format."""
    return xml_safe(CLASSES)[k] if isinstance(edited, CvatFile) else CLASSES[k]


def square() -> Array:
    mask = np.zeros((8, 10), bool)
    mask[1:4, 5:9] = True
    return mask


def test_unedited_export_changes_nothing(edited: EditedFile, run: ExportedRun, tmp_path: Path) -> None:
    record = import_edited(edited, run, tmp_path)
    assert changed_pixels(run, tmp_path / "fixed") == {}
    assert record["import"]["unchanged_regions"] == len(run.regions)
    assert record["import"]["edited_shapes"] == 0


def test_accepted_unchanged_regions_get_the_suggested_class(
    edited: EditedFile, run: ExportedRun, tmp_path: Path
) -> None:
    import_edited(edited, run, tmp_path, "--accept_unchanged", "true")
    edits = [
        ((region.row["source"], region.row["index"]), region.mask, region.row["suggested"])
        for region in run.regions.values()
    ]
    assert changed_pixels(run, tmp_path / "fixed") == paint(run, *edits)


def test_relabeled_region_gets_the_new_class(edited: EditedFile, run: ExportedRun, tmp_path: Path) -> None:
    edited.relabel(1, label(edited, 3))
    record = import_edited(edited, run, tmp_path)
    assert changed_pixels(run, tmp_path / "fixed") == paint(run, (("s", 2), run.regions[1].mask, 3))
    assert record["import"]["edited_shapes"] == 1


def test_redrawn_region_gets_its_class_where_it_is_now(edited: EditedFile, run: ExportedRun, tmp_path: Path) -> None:
    edited.reshape(8, square())
    import_edited(edited, run, tmp_path)
    assert changed_pixels(run, tmp_path / "fixed") == paint(run, ((DATED, 0), square(), 0))


def test_added_shape_gets_its_class(edited: EditedFile, run: ExportedRun, tmp_path: Path) -> None:
    edited.add(6, square(), label(edited, 1))
    import_edited(edited, run, tmp_path)
    assert changed_pixels(run, tmp_path / "fixed") == paint(run, (("s", 3), square(), 1))


def test_deleted_region_keeps_its_label(edited: EditedFile, run: ExportedRun, tmp_path: Path) -> None:
    edited.delete(1)
    import_edited(edited, run, tmp_path, "--accept_unchanged", "true")
    edits = [
        ((region.row["source"], region.row["index"]), region.mask, region.row["suggested"])
        for rank, region in run.regions.items()
        if rank != 1
    ]
    assert changed_pixels(run, tmp_path / "fixed") == paint(run, *edits)


def test_unknown_label_is_refused(
    edited: EditedFile, run: ExportedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if isinstance(edited, CocoFile):
        edited.tree["categories"][0]["name"] = "tree"
        edited.relabel(1, "tree")
    elif isinstance(edited, DatumaroFile):
        edited.tree["categories"]["label"]["labels"][0]["name"] = "tree"
    else:
        edited.relabel(1, "tree")
    edited.save()
    assert run_cli("import", edited.form, edited.file, "--run", run.out, "--out", tmp_path / "fixed") == 2
    message = error_message(capsys)
    assert "has a shape of 'tree', which is not one of the classes" in message
    assert not (tmp_path / "fixed").exists()


def test_rerun_with_imported_labels_runs(edited: EditedFile, run: ExportedRun, tmp_path: Path) -> None:
    """The printed command reads the labels, and those of sources without an image in the file from these."""
    edited.relabel(1, label(edited, 3))
    import_edited(edited, run, tmp_path)
    args = ("--source", run.out.parent / "s.zarr", "--source", run.out.parent / f"{DATED}.zarr")
    more = ("--labels_from", tmp_path / "fixed", "--base", run.out, "--max_quarantined", "100%")
    assert run_cli("run", *args, *more, "--out", tmp_path / "again") == 0


def test_items_without_a_size_have_that_of_the_run(run: ExportedRun, tmp_path: Path) -> None:
    assert export("datumaro", run.out, tmp_path / "export") == 0
    file = DatumaroFile(tmp_path / "export")
    for item in file.tree["items"]:
        del item["image"]["size"]
    file.relabel(1, CLASSES[3])
    import_edited(file, run, tmp_path)
    assert changed_pixels(run, tmp_path / "fixed") == paint(run, (("s", 2), run.regions[1].mask, 3))


def test_image_of_another_size_is_refused(run: ExportedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("coco", run.out, tmp_path / "export") == 0
    file = CocoFile(tmp_path / "export")
    file.tree["images"][0]["height"] += 1
    file.save()
    capsys.readouterr()
    assert run_cli("import", "coco", file.file, "--run", run.out, "--out", tmp_path / "fixed") == 2
    assert "does not have the 8 x 10 pixels of image" in error_message(capsys)


def test_region_that_a_tool_turned_into_polygons_is_unchanged(run: ExportedRun, tmp_path: Path) -> None:
    """Contours through the centers of edge pixels: a ring with its holes filled, and a line that has lost its area."""
    assert export("coco", run.out, tmp_path / "export") == 0
    file = CocoFile(tmp_path / "export")
    file.find(1)[1]["segmentation"] = [[2, 1, 6, 1, 6, 5, 2, 5]]
    file.find(11)[1]["segmentation"] = []
    record = import_edited(file, run, tmp_path)
    assert changed_pixels(run, tmp_path / "fixed") == {}
    assert record["import"]["unchanged_regions"] == len(run.regions)


def test_polygon_drawn_again_changes_its_pixels(run: ExportedRun, tmp_path: Path) -> None:
    assert export("coco", run.out, tmp_path / "export") == 0
    file = CocoFile(tmp_path / "export")
    file.find(1)[1]["segmentation"] = [[2, 1, 6, 1, 6, 8, 2, 8]]
    import_edited(file, run, tmp_path)
    mask = np.zeros((8, 10), bool)
    mask[1:8, 2:6] = True
    assert changed_pixels(run, tmp_path / "fixed") == paint(run, (("s", 2), mask, 0))


@pytest.fixture
def tasks(run: ExportedRun, tmp_path: Path) -> LabelStudioFile:
    assert export("label-studio", run.out, tmp_path / "export") == 0
    return LabelStudioFile(tmp_path / "export")


def test_regions_of_submitted_tasks_get_their_labels(tasks: LabelStudioFile, run: ExportedRun, tmp_path: Path) -> None:
    tasks.submit(1, 6)
    tasks.relabel(6, xml_safe(CLASSES)[0])
    import_edited(tasks, run, tmp_path)
    edits = [(("s", 2), run.regions[rank].mask, run.regions[rank].row["suggested"]) for rank in (1, 4)]
    assert changed_pixels(run, tmp_path / "fixed") == paint(run, *edits, (("s", 3), run.regions[6].mask, 0))


def test_regions_deleted_in_a_submitted_task_keep_their_labels(
    tasks: LabelStudioFile, run: ExportedRun, tmp_path: Path
) -> None:
    tasks.submit(1, 6)
    tasks.delete(1, 4, 6)
    record = import_edited(tasks, run, tmp_path)
    assert changed_pixels(run, tmp_path / "fixed") == {}
    assert record["import"]["images"] == 2


def test_shapes_drawn_in_label_studio_change_their_pixels(
    tasks: LabelStudioFile, run: ExportedRun, tmp_path: Path
) -> None:
    tasks.submit(6)
    tasks.reshape(6, square())
    shapes, shape = tasks.find(6)
    names = xml_safe(CLASSES)
    box = {"x": 0, "y": 75, "width": 20, "height": 25, "rotation": 0, "rectanglelabels": [names[3]]}
    points = [[50, 50], [80, 50], [80, 75], [50, 75]]
    for kind, value in (("rectanglelabels", box), ("polygonlabels", {"points": points, "polygonlabels": [names[0]]})):
        shapes.append({**shape, "type": kind, "meta": {}, "value": value})
    import_edited(tasks, run, tmp_path)
    corner, polygon = np.zeros((8, 10), bool), np.zeros((8, 10), bool)
    corner[6:, :2] = polygon[4:6, 5:8] = True
    edits = [(("s", 3), mask, value) for mask, value in ((square(), 2), (corner, 3), (polygon, 0))]
    assert changed_pixels(run, tmp_path / "fixed") == paint(run, *edits)


def test_canceled_and_older_annotations_do_not_count(tasks: LabelStudioFile, run: ExportedRun, tmp_path: Path) -> None:
    tasks.submit(6)
    task = next(task for task in tasks.tree if task["annotations"])
    result = task["annotations"][0]["result"]
    task["annotations"] = [
        {"result": result, "was_cancelled": False, "updated_at": "2026-11-30T08:00:00Z"},
        {"result": [], "was_cancelled": False, "updated_at": "2026-11-30T09:00:00Z"},
        {"result": result, "was_cancelled": True, "updated_at": "2026-11-30T10:00:00Z"},
    ]
    import_edited(tasks, run, tmp_path)
    assert changed_pixels(run, tmp_path / "fixed") == {}


@pytest.mark.parametrize(("position", "match"), [(-4, "ends too early"), (3, "has [0-9,]+ values")])
def test_damaged_brush_mask_is_refused(
    position: int,
    match: str,
    tasks: LabelStudioFile,
    run: ExportedRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    value = tasks.find(6)[1]["value"]
    value["rle"] = value["rle"][:position] if position < 0 else [*value["rle"][:position], 9, *value["rle"][4:]]
    tasks.save()
    assert run_cli("import", tasks.form, tasks.file, "--run", run.out, "--out", tmp_path / "fixed") == 2
    assert re.search(match, error_message(capsys))
