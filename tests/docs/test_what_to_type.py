"""The table "What you have, what to type": every command runs on small data of that kind."""

from __future__ import annotations

import json
import pickle
import re
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from docs.pages import ROOT
from integrations.frameworks import framework
from integrations.segformer import save_segformer
from masksift.cli.main import main
from prepare.ingest.helpers import save_image
from prepare.ingest.raster_files import write_raster
from prepare.ingest.volume_files import write_volume
from prepare.predict.helpers import make_images, write_images
from support.datasets import Array
from support.sources import make_data, write_source

PAGE = ROOT / "docs/guides/quickstart.md"
TABLE = PAGE.read_text().partition("## What you have, what to type")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"\| `(masksift [^`]*)` \|", TABLE)
IMAGES = 6
FOLDERS = ("images", "masks")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working directory with one data set in every form that the table names."""
    monkeypatch.chdir(tmp_path)
    rgb, labels = make_images(images=IMAGES)
    classes = np.where(labels == 255, 0, labels)
    probabilities = (0.8 * (classes[:, None] == np.arange(3).reshape(3, 1, 1)) + 0.2 / 3).astype(np.float32)
    palette = np.array([(9, 9, 200), (90, 90, 90), (20, 160, 20)], np.uint8)
    for i in range(IMAGES):
        save_image(tmp_path / f"images/{i}.png", rgb[i])
        save_image(tmp_path / f"labelme/{i}.png", rgb[i])
        save_image(tmp_path / f"masks/{i}.png", labels[i])
        save_image(tmp_path / f"colors/{i}.png", palette[classes[i]])
        volume = np.repeat(classes[i].T[..., None], 2, axis=2)
        write_volume(tmp_path / f"labelsTr/{i}.nii.gz", volume)
        write_volume(tmp_path / f"imagesTr/{i}_0000.nii.gz", volume.astype(np.int16) * 100)
        write_raster(tmp_path / f"ortho/{i}.tif", np.moveaxis(rgb[i], -1, 0))
        write_raster(tmp_path / f"landcover/{i}.tif", labels[i], nodata=255)
        (tmp_path / "softmax").mkdir(exist_ok=True)
        np.save(tmp_path / f"softmax/{i}.npy", probabilities[i])
        shape = {"label": "tree", "shape_type": "rectangle", "points": [[2, 2], [9, 9]]}
        tree = {"shapes": [shape], "imageHeight": 16, "imageWidth": 20}
        (tmp_path / f"labelme/{i}.json").write_text(json.dumps(tree))
    (tmp_path / "tensors").mkdir()
    for i in range(IMAGES):
        save_file({"logits": probabilities[i]}, tmp_path / f"tensors/{i}.safetensors")
        save_image(tmp_path / f"imagesTr/{i}_0000.png", rgb[i])
        save_image(tmp_path / f"labelsTr/{i}.png", np.where(labels[i] == 255, 3, labels[i]).astype(np.uint8))
        save_image(tmp_path / f"nnunet/{i}.png", classes[i])
        np.savez_compressed(tmp_path / f"nnunet/{i}.npz", probabilities=probabilities[i][:, None])
    numbers = {"sky": 0, "road": 1, "tree": 2, "ignore": 3}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": numbers, "channel_names": {"0": "R"}}))
    (tmp_path / "ids.txt").write_text("".join(f"{i}\n" for i in range(IMAGES)))
    results = [{"img_path": f"data/{i}.png", "pred_sem_seg": {"data": classes[i : i + 1]}} for i in range(IMAGES)]
    (tmp_path / "results.pkl").write_bytes(pickle.dumps(results, protocol=2))
    np.save(tmp_path / "labels.npy", classes)
    np.save(tmp_path / "pred_probs.npy", probabilities)
    write_coco(tmp_path / "coco.json")
    (tmp_path / "hf").mkdir()
    pictures = [[{"bytes": (tmp_path / f"{name}/{i}.png").read_bytes()} for i in range(IMAGES)] for name in FOLDERS]
    pq.write_table(pa.table(dict(zip(("image", "label"), pictures, strict=True))), tmp_path / "hf/train.parquet")
    write_annotations(tmp_path, palette[classes])
    box = '<box label="tree" xtl="2" ytl="2" xbr="9" ybr="9"></box>'
    cvat = "".join(f'<image id="{i}" name="{i}.png" width="20" height="16">{box}</image>' for i in range(IMAGES))
    (tmp_path / "annotations.xml").write_text(f"<annotations>{cvat}</annotations>")
    with zipfile.ZipFile(tmp_path / "project.zip", "w") as archive:
        archive.write(tmp_path / "annotations.xml", "annotations.xml")
    write_source(tmp_path / "street.zarr", make_data(images=IMAGES))
    write_images(tmp_path / "labeled.zarr", rgb, labels)
    return tmp_path


def write_annotations(directory: Path, colors: Array) -> None:
    """Write a rectangle of a tree in every image in the formats of several tools, and masks with a label map."""
    for name in ("voc/SegmentationClass", "datumaro/annotations", "supervisely/ds/ann", "yolo/labels"):
        (directory / name).mkdir(parents=True)
    rectangle = {"x": 10, "y": 12.5, "width": 40, "height": 50, "rectanglelabels": ["tree"]}
    shape = {"original_width": 20, "original_height": 16, "value": rectangle}
    tasks = [{"data": {"image": f"s3://bucket/{i}.png"}, "annotations": [{"result": [shape]}]} for i in range(IMAGES)]
    (directory / "label-studio.json").write_text(json.dumps(tasks))
    box = {"type": "bbox", "label_id": 0, "bbox": [2, 2, 7, 7]}
    items = [{"id": str(i), "annotations": [box], "image": {"size": [16, 20]}} for i in range(IMAGES)]
    categories = {"label": {"labels": [{"name": "tree"}]}}
    (directory / "datumaro/annotations/default.json").write_text(json.dumps({"categories": categories, "items": items}))
    (directory / "supervisely/meta.json").write_text(json.dumps({"classes": [{"title": "tree"}]}))
    points = {"exterior": [[2, 2], [8, 8]], "interior": []}
    entry = {"classTitle": "tree", "geometryType": "rectangle", "points": points}
    tree = {"size": {"height": 16, "width": 20}, "objects": [entry]}
    (directory / "yolo/classes.txt").write_text("tree\n")
    label_map = "background:0,0,0::\na:9,9,200::\nb:90,90,90::\nc:20,160,20::\n"
    (directory / "voc/labelmap.txt").write_text(label_map)
    for i in range(IMAGES):
        (directory / f"supervisely/ds/ann/{i}.png.json").write_text(json.dumps(tree))
        (directory / f"yolo/labels/{i}.txt").write_text("0 0.3 0.4 0.4 0.4\n")
        save_image(directory / f"voc/SegmentationClass/{i}.png", colors[i])


def write_coco(path: Path) -> None:
    images = [{"id": i, "file_name": f"{i}.png", "height": 16, "width": 20} for i in range(IMAGES)]
    square = [[2, 2, 9, 2, 9, 9, 2, 9]]
    annotations = [{"image_id": i, "category_id": 1, "segmentation": square, "area": 49} for i in range(IMAGES)]
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "tree"}]})
    )


def test_table_has_commands() -> None:
    assert len(COMMANDS) == 26


@pytest.mark.filterwarnings("default")  # of frameworks
@pytest.mark.parametrize("command", COMMANDS)
def test_command_for_what_you_have_runs(data: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "hf:" in command:
        framework("torch")
        framework("transformers")
        save_segformer(data / "segformer")
    flags = [] if " doctor " in command else ["--executor", "serial", "--log-format", "quiet"]
    assert main([*shlex.split(command)[1:], *flags]) == 0
    if "quickstart" in command:
        assert "report: quickstart-run/results/report/index.html" in capsys.readouterr().out
        assert (data / "quickstart-run/results/report/index.html").exists()
