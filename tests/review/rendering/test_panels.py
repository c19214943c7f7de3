"""Figures of one image: outlines, texts, panels, layout and reproducible bytes."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from IPython.core.formatters import DisplayFormatter
from matplotlib.patches import Rectangle
from PIL import Image

from masksift.core.errors import UsageError
from masksift.engine.image_views import ImageView, make_view
from masksift.review.rendering.figure import draw_figure
from masksift.review.rendering.palette import class_colors
from masksift.review.rendering.panels import (
    MAX_OUTLINED_REGIONS,
    colorize,
    figure_png,
    image_title,
    make_legend,
    make_panels,
    more_regions_text,
    region_outline,
    region_text,
    require_matplotlib,
)
from support.datasets import Array
from support.errors import raises

NAMES = ("road", "car", "sky")
RED = [255, 70, 40]


def make_image(height: int = 6, width: int = 8, classes: int = 3, seed: int = 3) -> tuple[Array, Array, Array, Array]:
    """Picture, given classes (with one ignored pixel), predicted classes and flagged pixels."""
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if classes <= 254 else np.uint16
    given, predicted = (rng.integers(0, classes, (height, width)).astype(dtype) for _ in range(2))
    given[0, 0] = np.iinfo(dtype).max
    return (
        rng.integers(0, 256, (height, width, 3), np.uint8),
        given,
        predicted,
        (given != predicted) & (given < classes),
    )


def make_region(mask: Array, **columns: Any) -> dict[str, Any]:
    """Row of the region table for a mask (H, W)."""
    flat = np.concatenate([[False], mask.T.reshape(-1), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    y, x = np.nonzero(mask)
    return {
        "given": 0,
        "suggested": 1,
        "given_name": "road",
        "suggested_name": "car",
        "area": int(mask.sum()),
        "y0": int(y.min()),
        "x0": int(x.min()),
        "y1": int(y.max()) + 1,
        "x1": int(x.max()) + 1,
        "centroid_y": float(y.mean()),
        "centroid_x": float(x.mean()),
        "height": mask.shape[0],
        "width": mask.shape[1],
        "rle": counts[: len(counts) - (counts[-1] == 0)].tolist(),
    } | columns


def panel_images(figure: Any) -> list[Array]:
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.get_images()]


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.texts]


def decode_png(data: bytes) -> Array:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def boundary_sides(mask: Array) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    """Sides between a pixel of the mask and a neighbor outside of it, as pairs of corners (x, y)."""
    lines = set()
    for y, x in np.argwhere(mask):
        for dy, dx, line in (
            (-1, 0, ((x, y), (x + 1, y))),
            (1, 0, ((x, y + 1), (x + 1, y + 1))),
            (0, -1, ((x, y), (x, y + 1))),
            (0, 1, ((x + 1, y), (x + 1, y + 1))),
        ):
            inside = 0 <= y + dy < mask.shape[0] and 0 <= x + dx < mask.shape[1]
            if not inside or not mask[y + dy, x + dx]:
                lines.add(line)
    return lines


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(lambda mask: bool(mask.any())),
    st.integers(1, 4),
)
def test_outline_consists_of_the_boundary_sides_of_the_region(mask: Array, factor: int) -> None:
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % factor), (0, -width % factor)))
    reduced = padded.reshape(padded.shape[0] // factor, factor, -1, factor).any(axis=(1, 3))
    expected = {
        tuple(tuple(np.minimum(np.array(corner) * factor, (width, height)).tolist()) for corner in line)
        for line in boundary_sides(reduced)
    }
    outline = region_outline(make_region(mask), factor)
    assert {tuple(map(tuple, line)) for line in outline.tolist()} == expected
    assert len(outline) == len(boundary_sides(reduced)), "no side twice"


def test_region_text_names_classes_and_area() -> None:
    region = make_region(np.ones((2, 3), bool))
    assert region_text(region) == "given road, suggested car, 6 px"
    assert region_text(region | {"area": 4120}) == "given road, suggested car, 4,120 px"
    assert region_text(region | {"given": None, "given_name": None}) == "no label given, suggested car, 6 px"
    assert region_text(region | {"given_name": "a\nb" + "c" * 90}) == f"given a\\nb{'c' * 35}…, suggested car, 6 px"
    assert more_regions_text(0) == more_regions_text(-1) == ""
    assert (more_regions_text(1), more_regions_text(2000)) == (
        "and 1 region of lower rank",
        "and 2,000 regions of lower rank",
    )


def test_image_title_has_rank_and_score_or_reason() -> None:
    row = {
        "image_id": "s\t7",
        "status": "scored",
        "reason": None,
        "clc": 0.51236,
        "flagged_pixels": 1200,
        "valid_pixels": 10000,
    }
    assert image_title(row, "clc", 3, 1500) == ["s\\t7 · rank 3 of 1,500 · clc 0.5124 · 1,200 of 10,000 pixels flagged"]
    quarantined = row | {"status": "missing_chunk", "reason": "chunk 3 does not exist", "clc": None}
    assert image_title(quarantined, "clc", None, 1500) == [
        "s\\t7 · not scored: missing_chunk",
        "chunk 3 does not exist",
    ]


def test_panels_hold_the_picture_and_class_colors() -> None:
    picture, given, predicted, flagged = make_image()
    shown = make_panels(make_view(picture, given, predicted, flagged), 3)
    assert list(shown) == ["picture", "given labels", "predicted", "flagged"]
    np.testing.assert_array_equal(shown["picture"], picture)
    np.testing.assert_array_equal(shown["given labels"][given < 3], class_colors(3)[given[given < 3]])
    assert (shown["given labels"][0, 0] == 0).all(), "black without a label"
    np.testing.assert_array_equal(shown["predicted"], class_colors(3)[predicted])
    assert (shown["flagged"][flagged] == RED).all()
    np.testing.assert_array_equal(shown["flagged"][~flagged], picture[~flagged] // 3)


@pytest.mark.parametrize("classes", [1, 3, 150, 254, 255, 700])
def test_invalid_label_is_white_and_no_label_black(classes: int) -> None:
    none = np.iinfo(np.uint8 if classes <= 254 else np.uint16).max
    plane = np.array([[0, classes - 1, none - 1, none]]).astype(np.uint8 if classes <= 254 else np.uint16)
    expected = [*class_colors(classes)[[0, classes - 1]].tolist(), [255] * 3, [0] * 3]
    assert colorize(plane, classes)[0].tolist() == expected


def test_panels_of_the_figure_use_image_pixels_as_units() -> None:
    picture, given, predicted, flagged = make_image(30, 40)
    for side, factor in ((40, 1), (20, 2), (13, 4)):
        view = make_view(picture, given, predicted, flagged, side)
        assert view.factor == factor
        figure = draw_figure(view, NAMES, ["title"], [make_region(flagged)], side=side)
        assert len(figure.axes) == 4
        for axes, image, panel in zip(figure.axes, panel_images(figure), make_panels(view, 3).values(), strict=True):
            np.testing.assert_array_equal(image, panel)
            assert (axes.get_xlim(), axes.get_ylim()) == ((0, 40), (30, 0))
            width, height = (-(-size // factor) * factor for size in (40, 30))
            assert axes.get_images()[0].get_extent() == [0, width, height, 0]
            for line in axes.patches:
                assert line.get_path().codes.tolist() == [1, 2] * (len(line.get_path().vertices) // 2)
                corners = line.get_path().vertices.reshape(-1, 2, 2)
                np.testing.assert_array_equal(corners, region_outline(make_region(flagged), factor))
            assert len(axes.patches) == 2
            assert [text.get_text() for text in axes.texts] == ["1"]


def test_image_pixel_covers_a_whole_number_of_figure_pixels() -> None:
    picture, given, predicted, flagged = make_image(6, 8)
    rendered = decode_png(figure_png(draw_figure(make_view(picture, given, predicted, flagged), NAMES, ["t"])))
    enlarged = np.kron(picture, np.ones((80, 80, 1), np.uint8))  # eight columns become 640 pixels
    first = np.flatnonzero((rendered[:, 60] != 255).any(axis=1) & (rendered[:, 300] != 255).any(axis=1))[0]
    left = np.flatnonzero((rendered[first + 40] != 255).any(axis=1))[0]
    panel = rendered[first + 5 : first + 475, left + 5 : left + 635]
    np.testing.assert_array_equal(panel, enlarged[5:475, 5:635])


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (("rgb",), ["given labels", "predicted", "flagged"]),
        (("predicted",), ["picture", "given labels", "flagged"]),
        (("predicted", "flagged"), ["picture", "given labels"]),
        (("rgb", "given", "predicted", "flagged"), []),
    ],
)
def test_missing_data_have_no_panel(missing: tuple[str, ...], expected: list[str]) -> None:
    planes: dict[str, Any] = dict(zip(("rgb", "given", "predicted", "flagged"), make_image(), strict=True))
    view = ImageView((6, 8), 1, **(planes | dict.fromkeys(missing)))
    figure = draw_figure(view, NAMES, ["title"], notes=["a note"])
    assert len(figure.axes) == len(expected)
    assert [text for text in texts(figure) if text in ("picture", "given labels", "predicted", "flagged")] == expected
    assert "a note" in texts(figure)
    if "rgb" in missing and "flagged" in expected:
        assert set(map(tuple, panel_images(figure)[-1].reshape(-1, 3).tolist())) == {tuple(RED), (64, 64, 64)}
    assert decode_png(figure_png(figure)).std() > 0


def test_legend_lists_classes_by_decreasing_pixels() -> None:
    given = np.array([[1, 1, 1, 255, 254]], np.uint8)  # the last two values are not classes
    view = ImageView((1, 5), 1, None, given, np.array([[1, 1, 0, 0, 0]], np.uint8), None)
    legend = make_legend(view, ("road", "car", "sky"))
    assert list(legend) == ["car", "road", "(no label)", "(no class)"]
    assert [round(255 * channel) for channel in legend["car"]] == class_colors(3)[1].tolist()


def test_legend_numbers_classes_with_equal_names() -> None:
    view = ImageView((1, 2), 1, None, np.array([[0, 1]], np.uint8), None, None)
    assert list(make_legend(view, ("x" * 60 + "1", "x" * 60 + "2"))) == [f"0 {'x' * 39}…", f"1 {'x' * 39}…"]


@pytest.mark.parametrize("classes", [150, 300])
def test_many_classes_all_have_color_and_name(classes: int) -> None:
    names = tuple(f"class of things {k}" for k in range(classes))
    plane = np.arange(classes).astype(np.uint16 if classes > 254 else np.uint8).reshape(10, -1)
    figure = draw_figure(ImageView(plane.shape, 1, None, plane, plane, np.zeros(plane.shape, bool)), names, ["title"])
    assert set(names) <= set(texts(figure))
    swatches = [artist for artist in figure.get_children() if isinstance(artist, Rectangle)]
    colors = [tuple(round(255 * channel) for channel in swatch.get_facecolor()[:3]) for swatch in swatches]
    assert set(colors) >= set(map(tuple, class_colors(classes).tolist()))
    check_text_layout(figure)


def check_text_layout(figure: Any) -> None:
    """Check that every text is inside of the figure and that no two overlap."""
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.texts]
    right, top = figure.bbox.width, figure.bbox.height
    for box in boxes:
        assert box.x0 >= 0
        assert box.x1 <= right
        assert box.y0 >= 0
        assert box.y1 <= top
    for number, box in enumerate(boxes):
        for other in boxes[:number]:
            overlap = min(box.x1, other.x1) - max(box.x0, other.x0), min(box.y1, other.y1) - max(box.y0, other.y0)
            assert min(overlap) < 2, "texts may touch"


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (50, 60)])
def test_long_texts_fit_figures_of_any_image_size(size: tuple[int, int]) -> None:
    picture, given, predicted, flagged = make_image(*size)
    region = np.zeros(size, bool)
    region[size[0] // 3 :, size[1] // 3 :] = True
    view = make_view(picture, given, predicted, flagged, 640)
    title = [
        "image " * 60,
        "x" * 500,
        "bad_labels: label 7 at (y=3, x=4) is neither a class 0..2 nor an ignore value [255]",
    ]
    row = make_region(region, given_name="W" * 90, suggested_name="道" * 90)
    figure = draw_figure(view, ("road" * 30, "car", "sky"), title, [row] * MAX_OUTLINED_REGIONS, notes=["a note " * 90])
    check_text_layout(figure)
    assert "".join("".join(texts(figure)).split()).count("image") == 60
    assert sum(text.count("x") for text in texts(figure) if set(text) == {"x"}) == 500
    assert decode_png(figure_png(figure)).shape[1] < 3000


@pytest.mark.parametrize(
    "name",
    ["$x^2$", "$", "\\frac", "<b>bold</b>", "道路", "Straße", "الطريق", "\ufdd0", "😀", "a\nb\x1b[0m", "%s {} {0}"],
)
def test_names_with_markup_or_other_scripts_stay_text(name: str) -> None:
    picture, given, predicted, flagged = make_image()
    figure = draw_figure(
        make_view(picture, given, predicted, flagged), (name, "car", "sky"), [f"title {name}"], notes=[name]
    )
    figure.draw_without_rendering()  # a character without a glyph would warn
    assert not any(text.get_parse_math() for text in figure.texts)
    if name.isascii() and name.isprintable():
        assert {f"title {name}", name} <= set(texts(figure))


def test_character_without_glyph_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import font_manager

    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    picture, given, predicted, flagged = make_image()
    assert "a\\u9053b" in texts(draw_figure(make_view(picture, given, predicted, flagged), NAMES, ["a道b"]))


@pytest.fixture
def style() -> Iterator[None]:
    """A user style."""
    with matplotlib.rc_context(
        {
            "image.origin": "lower",
            "axes.grid": True,
            "font.size": 30,
            "text.color": "green",
            "savefig.facecolor": "auto",
            "image.cmap": "gray",
        }
    ):
        yield


def test_equal_images_give_equal_bytes_in_any_user_style(request: pytest.FixtureRequest) -> None:
    picture, given, predicted, flagged = make_image()
    view, region = make_view(picture, given, predicted, flagged), make_region(flagged)
    expected = figure_png(draw_figure(view, NAMES, ["title"], [region]))
    assert expected == figure_png(draw_figure(view, NAMES, ["title"], [region]))
    request.getfixturevalue("style")
    before = dict(matplotlib.rcParams)
    assert expected == figure_png(draw_figure(view, NAMES, ["title"], [region]))
    assert dict(matplotlib.rcParams) == before


def test_notebook_displays_the_figure() -> None:
    picture, given, predicted, flagged = make_image()
    figure = draw_figure(make_view(picture, given, predicted, flagged), NAMES, ["title"])
    data, _ = DisplayFormatter().format(figure)
    np.testing.assert_array_equal(decode_png(data["image/png"]), decode_png(figure_png(figure)))


def test_missing_matplotlib_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with raises(UsageError, r"matplotlib is not installed. Run `pip install 'masksift\[show\]'`"):
        require_matplotlib()
