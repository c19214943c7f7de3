"""`masksift import cvat` of Segmentation mask 1.1, and `import png`: planes of labels."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from review.export.helpers import DATED, PADDED, ExportedRun, export
from review.imports.helpers import changed_pixels, import_file, paint
from support.cli import error_message, run_cli
from support.datasets import Array

Edit = Callable[[str, Array], Array | None]
"""Change of a member of an archive: its pixels by its name, None to leave it out."""


def exported_name(out: Path, source: str, index: int) -> str:
    """Name of an image in an export."""
    rows = [line.rsplit(",", 2) for line in (out / "images.csv").read_text().splitlines()]
    return next(name for name, *key in rows if key == [source, str(index)])


def edit_archive(archive: Path, out: Path, edit: Edit, folder: str = "SegmentationClass/") -> Path:
    """Write an archive again with changed pixels in a folder."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data: bytes | None = old.read(name)
            if name.startswith(folder):
                pixels = edit(name.removeprefix(folder), np.array(Image.open(io.BytesIO(old.read(name)))))
                data = None if pixels is None else encode_png(pixels)
            if data is not None:
                new.writestr(name, data)
    return out


def encode_png(pixels: Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def label_colors(archive: Path) -> dict[str, tuple[int, ...]]:
    with zipfile.ZipFile(archive) as opened:
        lines = opened.read("labelmap.txt").decode().splitlines()[1:]
    return {line.split(":")[0]: tuple(map(int, line.split(":")[1].split(","))) for line in lines}


@pytest.fixture(scope="module")
def exported(run: ExportedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("planes") / "export"
    assert export("cvat-mask", run.out, out) == 0
    return out


def test_unchanged_archive_changes_nothing(run: ExportedRun, exported: Path, tmp_path: Path) -> None:
    record = import_file("cvat", exported / "dataset.zip", run, tmp_path / "fixed", "--exported", exported)
    assert changed_pixels(run, tmp_path / "fixed") == {}
    assert record["import"]["images"] == len(run.ordered_images())
    assert all(source["pairs"] == [] and source["changed_images"] == 0 for source in record["sources"])


def test_pixels_painted_in_an_archive_change_and_no_others(run: ExportedRun, exported: Path, tmp_path: Path) -> None:
    colors, name = label_colors(exported / "dataset.zip"), exported_name(exported, DATED, 0)
    mask = np.zeros((8, 10), bool)
    mask[2:5, 3:6] = True

    def edit(member: str, pixels: Array) -> Array:
        if member == f"{name}.png":
            pixels[mask] = colors["background (class)"]
        return pixels

    archive = edit_archive(exported / "dataset.zip", tmp_path / "edited.zip", edit)
    record = import_file("cvat", archive, run, tmp_path / "fixed", "--exported", exported)
    assert changed_pixels(run, tmp_path / "fixed") == paint(run, ((DATED, 0), mask, 3))
    assert {pair["suggested"] for source in record["sources"] for pair in source["pairs"]} == {"background"}


def test_erased_pixels_are_ignored(run: ExportedRun, exported: Path, tmp_path: Path) -> None:
    name = exported_name(exported, "s", 7)

    def edit(member: str, pixels: Array) -> Array:
        return np.zeros_like(pixels) if member == f"{name}.png" else pixels

    archive = edit_archive(exported / "dataset.zip", tmp_path / "edited.zip", edit)
    import_file("cvat", archive, run, tmp_path / "fixed", "--exported", exported)
    assert changed_pixels(run, tmp_path / "fixed") == paint(run, (("s", 7), np.ones(PADDED, bool), 255))


def test_archive_with_some_images_leaves_the_others(run: ExportedRun, exported: Path, tmp_path: Path) -> None:
    name, colors = exported_name(exported, "s", 3), label_colors(exported / "dataset.zip")
    color = np.array(colors["a_b"], np.uint8)

    def edit(member: str, pixels: Array) -> Array | None:
        return np.full_like(pixels, color) if member == f"{name}.png" else None

    archive = edit_archive(exported / "dataset.zip", tmp_path / "edited.zip", edit)
    record = import_file("cvat", archive, run, tmp_path / "fixed", "--exported", exported)
    assert changed_pixels(run, tmp_path / "fixed") == paint(run, (("s", 3), np.ones((8, 10), bool), 2))
    assert record["left"] == {DATED: None}


def test_unpacked_archive_is_read_as_the_archive(run: ExportedRun, exported: Path, tmp_path: Path) -> None:
    color = np.array(label_colors(exported / "dataset.zip")["a_b"], np.uint8)
    archive = edit_archive(
        exported / "dataset.zip", tmp_path / "edited.zip", lambda _, plane: np.full_like(plane, color)
    )
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "unpacked")
    for number, file in enumerate((archive, tmp_path / "unpacked")):
        import_file("cvat", file, run, tmp_path / f"fixed-{number}", "--exported", exported)
    assert changed_pixels(run, tmp_path / "fixed-0") == changed_pixels(run, tmp_path / "fixed-1") != {}


def test_equal_names_without_the_export_are_refused(
    run: ExportedRun, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("import", "cvat", exported / "dataset.zip", "--run", run.out, "--out", tmp_path / "fixed")
    assert run_cli(*args) == 2
    assert "--exported DIR" in error_message(capsys)
    assert not (tmp_path / "fixed").exists()


def test_color_that_is_not_in_the_label_map_is_refused(
    run: ExportedRun, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = edit_archive(exported / "dataset.zip", tmp_path / "x.zip", lambda _, plane: np.full_like(plane, 77))
    args = ("--run", run.out, "--out", tmp_path / "fixed", "--exported", exported)
    assert run_cli("import", "cvat", archive, *args) == 2
    assert "holds the color (77, 77, 77) at row 0, column 0, which is not in its label map" in error_message(capsys)


def test_mask_of_another_size_is_refused(
    run: ExportedRun, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = edit_archive(exported / "dataset.zip", tmp_path / "x.zip", lambda _, plane: plane[:3, :4])
    args = ("--run", run.out, "--out", tmp_path / "fixed", "--exported", exported)
    assert run_cli("import", "cvat", archive, *args) == 2
    assert "it has 3 x 4 pixels, its image 8 x 10" in error_message(capsys)


def test_label_that_is_no_class_is_refused(
    run: ExportedRun, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("labelmap.txt", "# label:color_rgb:parts:actions\ntree:1,2,3::\n")
    args = ("--run", run.out, "--out", tmp_path / "fixed", "--exported", exported)
    assert run_cli("import", "cvat", tmp_path / "x.zip", *args) == 2
    assert "labelmap.txt" in (message := error_message(capsys))
    assert "has the label 'tree', which is not one of the classes" in message


def test_png_masks_of_label_values_change_what_differs(run: ExportedRun, tmp_path: Path) -> None:
    edited = run.labels["s"][5].copy()
    edited[2:4, 0] = (edited[2:4, 0] + 1) % 4
    (tmp_path / "masks/x").mkdir(parents=True)
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported/images.csv").write_text("name,source,index\nx/y,s,5\n")
    (tmp_path / "masks/x/y.png").write_bytes(encode_png(edited))
    import_file("png", tmp_path / "masks", run, tmp_path / "fixed", "--exported", tmp_path / "exported")
    changes = changed_pixels(run, tmp_path / "fixed")
    assert changes == {("s", 5): {(2, 0): int(edited[2, 0]), (3, 0): int(edited[3, 0])}}


def test_png_mask_with_an_unknown_value_is_refused(
    run: ExportedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported/images.csv").write_text("name,source,index\ny,s,5\n")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/y.png").write_bytes(encode_png(np.full((8, 10), 9, np.uint8)))
    args = ("--run", run.out, "--out", tmp_path / "fixed", "--exported", tmp_path / "exported")
    assert run_cli("import", "png", tmp_path / "masks", *args) == 2
    assert "holds the value 9 at row 0, column 0, which is not a label value" in error_message(capsys)


def test_same_import_is_complete_and_another_is_refused(
    run: ExportedRun, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    color = np.array(label_colors(exported / "dataset.zip")["a_b"], np.uint8)
    other = edit_archive(exported / "dataset.zip", tmp_path / "x.zip", lambda _, plane: np.full_like(plane, color))
    first = import_file("cvat", exported / "dataset.zip", run, tmp_path / "fixed", "--exported", exported)
    assert import_file("cvat", exported / "dataset.zip", run, tmp_path / "fixed", "--exported", exported) == first
    capsys.readouterr()
    args = ("--run", run.out, "--out", tmp_path / "fixed", "--exported", exported)
    assert run_cli("import", "cvat", other, *args) == 2
    assert "inputs or settings (import was" in error_message(capsys)
