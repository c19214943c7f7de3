"""Labels of files that the libraries of the tools write (`make readers`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from annotations.helpers import H, W, class_names, ingest, square
from masksift.annotations.datumaro import read_datumaro
from masksift.annotations.shapes import ClassNumbers, draw_shapes
from masksift.annotations.supervisely import parse_supervisely
from masksift.storage.files import find_files
from review.export.helpers import run_tool
from support.datasets import Array

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
TOOLS = Path(__file__).parent / "tools"


def write(tool: str, out: Path, *args: object) -> Path:
    run_tool(TOOLS / f"write_{tool}.py", out, *args)
    return out


def polygon_over_box(background: int, first_class: int = 1) -> Array:
    """Labels of the image `a`: a polygon of the second class over a box of the first."""
    plane = np.full((H, W), background, np.uint8)
    plane[2:7, 2:8] = first_class
    plane[square(1) == 1] = first_class + 1
    return plane


def test_datumaro_project_is_drawn_by_z_order(tmp_path: Path) -> None:
    project = write("datumaro", tmp_path / "x", "datumaro")
    planes = ingest(project, project / "images", "--background", "ground")
    np.testing.assert_array_equal(planes["a"], polygon_over_box(0))
    expected = square(2, other=0)
    expected[0:3, 6:9] = 1  # an ellipse
    np.testing.assert_array_equal(planes["b"], expected)
    assert class_names(project) == ["ground", "car", "tree"]
    (first, _) = read_datumaro(find_files(str(project / "annotations"), {}, (".json",)), {}, None, None).labels
    assert [shape.rank for shape in first.shapes] == [None, 7]


def test_cvat_file_is_drawn_by_z_order(tmp_path: Path) -> None:
    project = write("datumaro", tmp_path / "x", "cvat")
    planes = ingest(project / "train.xml", project / "images", code=3)
    np.testing.assert_array_equal(planes["a"], polygon_over_box(255, first_class=0))


def test_masks_are_read_by_the_colors_of_the_label_map(tmp_path: Path) -> None:
    project = write("datumaro", tmp_path / "x", "voc_segmentation")
    planes = ingest(project, project / "JPEGImages")
    np.testing.assert_array_equal(planes["a"], square(1))
    np.testing.assert_array_equal(planes["b"], square(255, other=0))
    assert class_names(project) == ["car", "tree"]


def test_yolo_data_set_of_ultralytics_is_read_from_its_root(tmp_path: Path) -> None:
    root = write("datumaro", tmp_path / "x", "yolo_ultralytics")
    planes = ingest(root, root / "images", "--background", "ground")
    np.testing.assert_array_equal(planes["train/a"], square(2, other=0))
    assert not planes["val/b"].any()
    assert class_names(root) == ["ground", "car", "tree"]


@pytest.mark.parametrize("file", ["export.json", "min/result.json"])
def test_label_studio_brush_mask_of_the_last_change_is_drawn(file: str, tmp_path: Path, images: Path) -> None:
    write("label_studio", tmp_path)
    planes = ingest(tmp_path / file, images, "--classes", "car,tree", code=3)
    assert len(planes) == 1
    np.testing.assert_array_equal(next(iter(planes.values())), square(1))


def test_supervisely_polygons_cover_the_pixels_of_opencv() -> None:
    generator = np.random.default_rng(0)
    polygons = []
    for corners in generator.integers(3, 12, 100):
        angles = np.sort(generator.uniform(0, 2 * np.pi, corners))
        radii = generator.uniform(4, 19, corners)
        points = 20 + radii * np.array([np.cos(angles), np.sin(angles)])
        polygons.append(np.rint(points.T).astype(int).tolist())
    planes = json.loads(run_tool(TOOLS / "fill_polygons.py", stdin=json.dumps(polygons)))
    entry = {"classTitle": "tree", "geometryType": "polygon"}
    for polygon, plane in zip(polygons, planes, strict=True):
        points_of = {"exterior": polygon, "interior": []}
        tree = {"size": {"height": 40, "width": 40}, "objects": [{**entry, "points": points_of}]}
        labels = parse_supervisely(tree, "a.json", ClassNumbers(["tree"], None, None, "a.json"))
        drawn = draw_shapes(labels, None, "uint8", "a.json") == 0
        assert "".join(map(str, drawn.astype(int).ravel().tolist())) == plane
