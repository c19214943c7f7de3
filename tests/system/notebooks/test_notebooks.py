"""Notebooks run from top to bottom, and their stored outputs are those of the current code."""

from __future__ import annotations

import base64
import io
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from PIL import Image

from support.notebooks import NOTEBOOKS, execute

pytestmark = [
    # tornado, under the kernel's client, leaves sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::DeprecationWarning"),
]
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")
PICTURE = re.compile(r'src="data:image/png;base64,[^"]*"')
"""A picture in a table, which is also a stored image elsewhere."""
BLOCK_PIXELS, MAX_COLOR_DIFFERENCE = 8, 12
"""Pictures are compared by their mean colors over blocks: fonts are drawn a little differently on other machines."""
LOCAL_PATH = re.compile(r"(?<![\w.])/(?:tmp|home|root|work|Users|private|var)/|[A-Z]:\\\\|\.cache|site-packages")


def outputs_of(notebook: Any) -> list[list[Any]]:
    """Outputs of each code cell; the parts of one stream are joined."""
    cells = []
    for cell in notebook.cells:
        outputs: list[Any] = []
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and outputs and outputs[-1].get("name") == output.name:
                outputs[-1].text += output.text
            else:
                outputs.append(nbformat.NotebookNode(output))  # a copy, which the lines above extend
        cells.append(outputs)
    return cells


def texts(output: Any) -> Iterator[str]:
    """Yield the texts of an output without pictures and styles."""
    if output.output_type == "stream":
        yield output.text
    for kind in ("text/plain", "text/html"):
        if kind in output.get("data", {}):
            yield re.sub(r"(?s)<style.*?</style>", "", PICTURE.sub("", output.data[kind]))


def assert_same_text(stored: str, fresh: str) -> None:
    """Check that words are equal and numbers nearly: training differs in its last digits between machines."""
    assert NUMBER.sub("#", stored).split() == NUMBER.sub("#", fresh).split()
    numbers = ([float(text.replace(",", "")) for text in NUMBER.findall(one)] for one in (stored, fresh))
    np.testing.assert_allclose(*numbers, rtol=0.02, atol=0.02)


def assert_same_picture(stored: bytes, fresh: bytes) -> None:
    """Check that two PNG files show the same."""
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in (stored, fresh)]
    assert np.abs(np.subtract(images[0].size, images[1].size)).max() <= BLOCK_PIXELS
    size = tuple(side // BLOCK_PIXELS for side in images[0].size)
    reduced = [np.asarray(image.resize(size, Image.Resampling.BOX), np.int64) for image in images]
    assert np.abs(reduced[0] - reduced[1]).max() <= MAX_COLOR_DIFFERENCE


def assert_same_outputs(stored: Any, fresh: Any) -> None:
    for number, (cell, other) in enumerate(zip(outputs_of(stored), outputs_of(fresh), strict=True)):
        kinds = [[(one.output_type, sorted(one.get("data", {}))) for one in outputs] for outputs in (cell, other)]
        assert kinds[0] == kinds[1], f"cell {number}: execute the notebook again, by `make notebooks`"
        for one, two in zip(cell, other, strict=True):
            for text, new in zip(texts(one), texts(two), strict=True):
                assert_same_text(text, new)
            if "image/png" in one.get("data", {}):
                assert_same_picture(*(base64.b64decode(output.data["image/png"]) for output in (one, two)))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One temporary folder: the first notebook creates the scenes there, the others reuse them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("notebooks")))
        yield


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="other processors round differently")
@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_of_a_notebook_are_those_of_a_fresh_run(path: Path, tmp_path: Path) -> None:
    stored = nbformat.read(path, as_version=4)
    fresh = execute(path, tmp_path)
    outputs = [output for outputs in outputs_of(fresh) for output in outputs]
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not list(tmp_path.iterdir()), "notebooks write only to a temporary folder"
    assert_same_outputs(stored, fresh)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_holds_no_local_path(path: Path) -> None:
    text = PICTURE.sub("", re.sub(r'"image/png": "[^"]*"', "", path.read_text()))
    assert not LOCAL_PATH.findall(text)


def picture(color: int, size: tuple[int, int] = (64, 48)) -> bytes:
    data = io.BytesIO()
    pixels = np.full((size[1], size[0], 3), 255, np.uint8)
    pixels[8:24, 8:24] = color
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def test_comparison_detects_other_pictures_and_texts() -> None:
    assert_same_picture(picture(100), picture(104))
    for other in (picture(160), picture(100, (96, 48))):
        with pytest.raises(AssertionError):
            assert_same_picture(picture(100), other)
    assert_same_text("scene_0020  0.101 1,203", "scene_0020   0.102   1,203")
    for changed in ("scene_0021 0.101 1,203", "scene_0020 0.151 1,203", "scene_0020 0.101 1,303", "scene_0020 0.101"):
        with pytest.raises(AssertionError):
            assert_same_text("scene_0020 0.101 1,203", changed)


def test_notebooks_exist() -> None:
    assert NOTEBOOKS
