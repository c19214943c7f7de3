"""Predictions in every form come to one order of axes; what is ambiguous or incomplete is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prepare.ingest.helpers import NAMES, Folder, arrays, ingest, refused, save_image
from support.sources import plain


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, plain(images=3))


def test_classes_may_come_last(folder: Folder) -> None:
    for name, prediction in zip(folder.names, folder.data.predictions, strict=True):
        folder.save(f"{name}.npy", np.moveaxis(prediction, 0, -1))
    assert ingest(folder) == 0
    np.testing.assert_array_equal(arrays(folder.out)["predictions"], folder.data.predictions)


def test_arrays_in_any_byte_order_and_memory_order_and_in_batches_of_one(folder: Folder) -> None:
    first, second, third = folder.data.predictions
    folder.save("scene_00.npy", first.astype(">f4"))
    folder.save("scene_01.npy", np.asfortranarray(second))
    folder.save("scene_02.npy", third[None])
    assert ingest(folder) == 0
    np.testing.assert_array_equal(arrays(folder.out)["predictions"], folder.data.predictions)


def test_where_classes_stand_is_refused_where_it_cannot_be_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(tmp_path, plain(images=2, height=4, width=4))
    refused(
        r"scene_00.npy have the shape \(4, 4, 4\); whether classes come first or last is not known. Give --axes",
        capsys,
        *folder.words("--ignore", 255),
    )
    assert ingest(folder, "--axes", "class,y,x") == 0
    np.testing.assert_array_equal(arrays(folder.out)["predictions"], folder.data.predictions)


def test_one_image_that_shows_the_order_shows_it_for_all(tmp_path: Path) -> None:
    folder = Folder(tmp_path, plain(images=2, height=4, width=4))
    save_image(folder.labels / "wide.png", np.zeros((4, 6), np.uint8))
    folder.save("wide.npy", np.full((4, 4, 6), 0.25, np.float32))
    assert ingest(folder, "--pad") == 0
    np.testing.assert_array_equal(arrays(folder.out)["predictions"][:2, :, :, :4], folder.data.predictions)


@pytest.mark.parametrize("name", ["predictions", "pred_probs", "probs", "logits", "anything"])
def test_archives_of_arrays(folder: Folder, name: str) -> None:
    for stem, prediction in zip(folder.names, folder.data.predictions, strict=True):
        (folder.predictions / f"{stem}.npy").unlink()
        more = {} if name == "anything" else {"features": np.zeros(3)}
        np.savez_compressed(folder.predictions / f"{stem}.npz", **{name: prediction}, **more)
    assert ingest(folder) == 0
    np.testing.assert_array_equal(arrays(folder.out)["predictions"], folder.data.predictions)


def test_an_archive_of_arrays_of_other_names_is_refused(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.predictions / "scene_00.npy").unlink()
    np.savez(folder.predictions / "scene_00.npz", a=np.zeros(3), b=np.zeros(3))
    refused("scene_00.npz holds the arrays a, b; .*Call it predictions", capsys, *folder.words())


def hard(folder: Folder, dtype: str = "uint8") -> np.ndarray:
    """Files of class numbers in place of the arrays; answers the numbers."""
    numbers = folder.data.predictions.argmax(axis=1).astype(dtype)
    for name, plane in zip(folder.names, numbers, strict=True):
        (folder.predictions / f"{name}.npy").unlink()
        save_image(folder.predictions / f"{name}.png", plane)
    return numbers


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_class_numbers_become_certain_predictions(
    folder: Folder, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = hard(folder, dtype)
    assert ingest(folder, "--classes", ",".join(NAMES)) == 0
    found = arrays(folder.out)["predictions"]
    assert set(np.unique(found)) == {0, 255}
    np.testing.assert_array_equal(found.argmax(axis=1), numbers)
    np.testing.assert_array_equal(found.sum(axis=1), 255)
    assert "predictions are class numbers: each is written as a probability of 1" in capsys.readouterr().out


def test_class_numbers_need_classes_that_hold_them(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    hard(folder)
    refused("predictions at .* are class numbers; how many classes there are is not known", capsys, *folder.words())
    plane = np.zeros((8, 10), np.uint8)
    plane[3, 4] = 4
    save_image(folder.predictions / "scene_00.png", plane)
    refused(
        r"scene_00.png predicts class 4 at row 3, column 4; there are 4 classes",
        capsys,
        *folder.words("--classes", ",".join(NAMES), "--ignore", 255),
    )


@pytest.mark.parametrize(("dtype", "called"), [("uint8", NAMES), ("uint16", ("0", "1", "2", "3"))])
def test_a_grey_image_a_class(tmp_path: Path, dtype: str, called: tuple[str, ...]) -> None:
    folder = Folder(tmp_path, plain(images=3, dtype=dtype))
    for name, prediction in zip(folder.names, folder.data.predictions, strict=True):
        (folder.predictions / f"{name}.npy").unlink()
        for word, plane in zip(called, prediction, strict=True):
            save_image(folder.predictions / name / f"{word}.png", plane)
    words = ("--classes", ",".join(NAMES)) if called == NAMES else ()
    assert ingest(folder, *words) == 0
    found = arrays(folder.out)["predictions"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, folder.data.predictions)
    assert arrays(folder.out)["image_id"].tolist() == folder.names


def test_a_grey_image_that_is_missing_is_refused(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    for name in folder.names:
        (folder.predictions / f"{name}.npy").unlink()
        for k in range(4):
            save_image(folder.predictions / name / f"{k}.png", np.zeros((8, 10), np.uint8))
    (folder.predictions / "scene_01" / "2.png").unlink()
    refused(r"scene_01 of .* holds 3 of 4 classes, and none of class 2", capsys, *folder.words("--ignore", 255))
    save_image(folder.predictions / "scene_01" / "2.png", np.zeros((8, 10, 3), np.uint8))
    folder.labels.joinpath("scene_00.png").unlink()
    refused(r"scene_01/2.png has the shape \(8, 10, 3\) .*grey images", capsys, *folder.words("--ignore", 255))


def test_arrays_and_images_side_by_side_are_refused(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    save_image(folder.predictions / "shown.png", np.zeros((8, 10), np.uint8))
    refused(r"holds arrays and images \(scene_00.npy and shown.png\); .*Give a glob", capsys, *folder.words())


@pytest.mark.parametrize(
    ("prediction", "words", "said"),
    [
        (np.zeros((8, 10), "f4"), (), r"scene_01.npy have the shape \(8, 10\); those of an image have the axes"),
        (np.zeros((4, 8, 10), "i8"), (), r"scene_01.npy are stored as int64; .*Write them as one of uint8"),
        (np.zeros((4, 8, 10), "f8"), (), r"scene_01.npy are float64, of .*scene_00.npy float32; a source has one"),
        (np.zeros((5, 8, 10), "f4"), (), r"scene_00.npy predicts 4 classes, .*scene_01.npy 5"),
        (np.zeros((5, 8, 10), "f4"), ("--classes", "a,b,c,d"), r"have the shape \(5, 8, 10\), and there are 4 classes"),
        (np.array([{}]), (), r"scene_01.npy cannot be read as an array \(it holds Python objects"),
    ],
)
def test_predictions_that_do_not_fit_are_refused_with_the_file(
    folder: Folder, prediction: np.ndarray, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.save("scene_01.npy", prediction)
    refused(said, capsys, *folder.words("--ignore", 255, *words))
    assert not folder.out.exists()


def test_a_file_that_is_cut_short_is_refused_with_its_name(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder.predictions / "scene_02.npy"
    file.write_bytes(file.read_bytes()[:300])
    refused("scene_02.npy cannot be read as an array", capsys, *folder.words("--ignore", 255))
    file.write_bytes(b"")
    refused("scene_02.npy cannot be read as an array", capsys, *folder.words("--ignore", 255))
