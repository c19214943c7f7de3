"""One image drawn: every panel holds what there is to see, every word has its place, whatever the names hold."""

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


def an_image(height: int = 6, width: int = 8, classes: int = 3, seed: int = 3) -> tuple[Array, Array, Array, Array]:
    """Picture, given (a corner of it ignored) and predicted classes, flagged pixels."""
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


def region_of(mask: Array, **facts: Any) -> dict[str, Any]:
    """What the table of regions would say of a mask (H, W)."""
    flat = np.concatenate([[False], mask.T.reshape(-1), [False]])
    turns = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], turns, [mask.size]]))
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
    } | facts


def images_in(figure: Any) -> list[Array]:
    """What the panels of a figure hold."""
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.get_images()]


def words(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.texts]


def decoded(data: bytes) -> Array:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


# ------------------------------------------------------------------------------------------------------- outlines


def sides(mask: Array) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    """The sides of pixels of which one is in the mask and its neighbour is not, as pairs of corners (x, y)."""
    found = set()
    for y, x in np.argwhere(mask):
        for dy, dx, line in (
            (-1, 0, ((x, y), (x + 1, y))),
            (1, 0, ((x, y + 1), (x + 1, y + 1))),
            (0, -1, ((x, y), (x, y + 1))),
            (0, 1, ((x + 1, y), (x + 1, y + 1))),
        ):
            inside = 0 <= y + dy < mask.shape[0] and 0 <= x + dx < mask.shape[1]
            if not inside or not mask[y + dy, x + dx]:
                found.add(line)
    return found


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(lambda mask: bool(mask.any())),
    st.integers(1, 4),
)
def test_an_outline_is_the_sides_that_part_a_region_from_the_rest(mask: Array, factor: int) -> None:
    height, width = mask.shape
    framed = np.pad(mask, ((0, -height % factor), (0, -width % factor)))
    reduced = framed.reshape(framed.shape[0] // factor, factor, -1, factor).any(axis=(1, 3))
    expected = {
        tuple(tuple(np.minimum(np.array(corner) * factor, (width, height)).tolist()) for corner in line)
        for line in sides(reduced)
    }
    found = region_outline(region_of(mask), factor)
    assert {tuple(map(tuple, line)) for line in found.tolist()} == expected
    assert len(found) == len(sides(reduced)), "each once"


# --------------------------------------------------------------------------------------------------- what is said


def test_a_region_is_told_in_a_few_words() -> None:
    region = region_of(np.ones((2, 3), bool))
    assert region_text(region) == "given road, suggested car, 6 px"
    assert region_text(region | {"area": 4120}) == "given road, suggested car, 4,120 px"
    assert region_text(region | {"given": None, "given_name": None}) == "no label given, suggested car, 6 px"
    assert region_text(region | {"given_name": "a\nb" + "c" * 90}) == f"given a\\nb{'c' * 35}…, suggested car, 6 px"
    assert more_regions_text(0) == more_regions_text(-1) == ""
    assert (more_regions_text(1), more_regions_text(2000)) == (
        "and 1 region with less evidence",
        "and 2,000 regions with less evidence",
    )


def test_an_image_is_told_by_its_rank_or_by_what_is_wrong_with_it() -> None:
    row = {
        "image_id": "s\t7",
        "status": "scored",
        "reason": None,
        "clc": 0.51236,
        "flagged_pixels": 1200,
        "valid_pixels": 10000,
    }
    assert image_title(row, "clc", 3, 1500) == ["s\\t7 · rank 3 of 1,500 · clc 0.5124 · 1,200 of 10,000 pixels flagged"]
    lost = row | {"status": "missing_chunk", "reason": "chunk 3 does not exist", "clc": None}
    assert image_title(lost, "clc", None, 1500) == ["s\\t7 · not scored: missing_chunk", "chunk 3 does not exist"]


# ------------------------------------------------------------------------------------------------------ the panels


def test_a_panel_holds_the_picture_and_each_class_in_its_colour() -> None:
    picture, given, predicted, flagged = an_image()
    shown = make_panels(make_view(picture, given, predicted, flagged), 3)
    assert list(shown) == ["picture", "given labels", "predicted", "flagged"]
    np.testing.assert_array_equal(shown["picture"], picture)
    np.testing.assert_array_equal(shown["given labels"][given < 3], class_colors(3)[given[given < 3]])
    assert (shown["given labels"][0, 0] == 0).all(), "no label: black"
    np.testing.assert_array_equal(shown["predicted"], class_colors(3)[predicted])
    assert (shown["flagged"][flagged] == RED).all()
    np.testing.assert_array_equal(shown["flagged"][~flagged], picture[~flagged] // 3)


@pytest.mark.parametrize("classes", [1, 3, 150, 254, 255, 700])
def test_a_label_that_is_no_class_is_white(classes: int) -> None:
    none = np.iinfo(np.uint8 if classes <= 254 else np.uint16).max
    plane = np.array([[0, classes - 1, none - 1, none]]).astype(np.uint8 if classes <= 254 else np.uint16)
    expected = [*class_colors(classes)[[0, classes - 1]].tolist(), [255] * 3, [0] * 3]
    assert colorize(plane, classes)[0].tolist() == expected


def test_the_figure_s_panels_hold_them_in_the_pixels_of_the_image() -> None:
    picture, given, predicted, flagged = an_image(30, 40)
    for side, factor in ((40, 1), (20, 2), (13, 4)):
        view = make_view(picture, given, predicted, flagged, side)
        assert view.factor == factor
        figure = draw_figure(view, NAMES, ["title"], [region_of(flagged)], side=side)
        assert len(figure.axes) == 4
        for axes, held, panel in zip(figure.axes, images_in(figure), make_panels(view, 3).values(), strict=True):
            np.testing.assert_array_equal(held, panel)
            assert (axes.get_xlim(), axes.get_ylim()) == ((0, 40), (30, 0))
            across, down = (-(-size // factor) * factor for size in (40, 30))
            assert axes.get_images()[0].get_extent() == [0, across, down, 0]
            for line in axes.patches:
                assert line.get_path().codes.tolist() == [1, 2] * (len(line.get_path().vertices) // 2), "to, along"
                corners = line.get_path().vertices.reshape(-1, 2, 2)
                np.testing.assert_array_equal(corners, region_outline(region_of(flagged), factor))
            assert len(axes.patches) == 2, "black in white"
            assert [text.get_text() for text in axes.texts] == ["1"]


def test_a_pixel_of_the_image_is_a_whole_number_of_those_of_the_figure() -> None:
    picture, given, predicted, flagged = an_image(6, 8)
    found = decoded(figure_png(draw_figure(make_view(picture, given, predicted, flagged), NAMES, ["t"])))
    shown = np.kron(picture, np.ones((80, 80, 1), np.uint8))  # eight columns become 640 pixels
    first = np.flatnonzero((found[:, 60] != 255).any(axis=1) & (found[:, 300] != 255).any(axis=1))[0]
    left = np.flatnonzero((found[first + 40] != 255).any(axis=1))[0]
    part = found[first + 5 : first + 475, left + 5 : left + 635]
    np.testing.assert_array_equal(part, shown[5:475, 5:635])


@pytest.mark.parametrize(
    ("lost", "left"),
    [
        (("picture",), ["given labels", "predicted", "flagged"]),
        (("predicted",), ["picture", "given labels", "flagged"]),
        (("predicted", "flagged"), ["picture", "given labels"]),
        (("picture", "given", "predicted", "flagged"), []),
    ],
)
def test_what_is_lost_has_no_panel_and_is_said(lost: tuple[str, ...], left: list[str]) -> None:
    planes: dict[str, Any] = dict(zip(("picture", "given", "predicted", "flagged"), an_image(), strict=True))
    view = ImageView((6, 8), 1, **(planes | dict.fromkeys(lost)))
    figure = draw_figure(view, NAMES, ["title"], notes=["it is gone"])
    assert len(figure.axes) == len(left)
    assert [text for text in words(figure) if text in ("picture", "given labels", "predicted", "flagged")] == left
    assert "it is gone" in words(figure)
    if "picture" in lost and "flagged" in left:
        assert set(map(tuple, images_in(figure)[-1].reshape(-1, 3).tolist())) == {tuple(RED), (64, 64, 64)}
    assert decoded(figure_png(figure)).std() > 0


# ------------------------------------------------------------------------------------------------------- the words


def test_the_legend_has_the_classes_that_occur_most_pixels_first() -> None:
    given = np.array([[1, 1, 1, 255, 254]], np.uint8)  # the largest two are no classes
    view = ImageView((1, 5), 1, None, given, np.array([[1, 1, 0, 0, 0]], np.uint8), None)
    legend = make_legend(view, ("road", "car", "sky"))
    assert list(legend) == ["car", "road", "(no label)", "(no class)"]
    assert [round(255 * part) for part in legend["car"]] == class_colors(3)[1].tolist()


def test_classes_of_one_name_are_told_apart() -> None:
    view = ImageView((1, 2), 1, None, np.array([[0, 1]], np.uint8), None, None)
    assert list(make_legend(view, ("x" * 60 + "1", "x" * 60 + "2"))) == [f"0 {'x' * 39}…", f"1 {'x' * 39}…"]


@pytest.mark.parametrize("classes", [150, 300])
def test_a_hundred_and_fifty_classes_all_have_their_colour_and_name(classes: int) -> None:
    names = tuple(f"class of things {k}" for k in range(classes))
    plane = np.arange(classes).astype(np.uint16 if classes > 254 else np.uint8).reshape(10, -1)
    figure = draw_figure(ImageView(plane.shape, 1, None, plane, plane, np.zeros(plane.shape, bool)), names, ["title"])
    assert set(names) <= set(words(figure))
    swatches = [artist for artist in figure.get_children() if isinstance(artist, Rectangle)]
    found = [tuple(round(255 * part) for part in swatch.get_facecolor()[:3]) for swatch in swatches]
    assert set(found) >= set(map(tuple, class_colors(classes).tolist()))
    within(figure)


def within(figure: Any) -> None:
    """No word leaves the figure, and none lies on another."""
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
            assert min(overlap) < 2, "they may touch"


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (50, 60), (700, 900)])
def test_every_word_has_its_place_however_long_and_whatever_the_image(size: tuple[int, int]) -> None:
    picture, given, predicted, flagged = an_image(*size)
    region = np.zeros(size, bool)
    region[size[0] // 3 :, size[1] // 3 :] = True
    view = make_view(picture, given, predicted, flagged, 640)
    title = [
        "image " * 60,
        "x" * 500,
        "bad_labels: label 7 at (y=3, x=4) is neither a class 0..2 nor an ignore value [255]",
    ]
    told = region_of(region, given_name="W" * 90, suggested_name="道" * 90)
    figure = draw_figure(
        view, ("road" * 30, "car", "sky"), title, [told] * MAX_OUTLINED_REGIONS, notes=["a note " * 90]
    )
    within(figure)
    assert "".join("".join(words(figure)).split()).count("image") == 60
    assert sum(text.count("x") for text in words(figure) if set(text) == {"x"}) == 500
    assert decoded(figure_png(figure)).shape[1] < 3000


@pytest.mark.parametrize(
    "name",
    ["$x^2$", "$", "\\frac", "<b>bold</b>", "道路", "Straße", "الطريق", "\ufdd0", "😀", "a\nb\x1b[0m", "%s {} {0}"],
)
def test_names_may_hold_anything_and_stay_text(name: str) -> None:
    picture, given, predicted, flagged = an_image()
    figure = draw_figure(
        make_view(picture, given, predicted, flagged), (name, "car", "sky"), [f"title {name}"], notes=[name]
    )
    figure.draw_without_rendering()  # a letter without a glyph would warn
    assert not any(text.get_parse_math() for text in figure.texts)
    if name.isascii() and name.isprintable():
        assert {f"title {name}", name} <= set(words(figure))


def test_a_letter_that_no_font_has_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import font_manager

    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    picture, given, predicted, flagged = an_image()
    assert "a\\u9053b" in words(draw_figure(make_view(picture, given, predicted, flagged), NAMES, ["a道b"]))


# ------------------------------------------------------------------------------------------------------ the figure


@pytest.fixture
def style() -> Iterator[None]:
    """Somebody's own taste."""
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


def test_the_same_image_gives_the_same_bytes(request: pytest.FixtureRequest) -> None:
    picture, given, predicted, flagged = an_image()
    view, region = make_view(picture, given, predicted, flagged), region_of(flagged)
    once = figure_png(draw_figure(view, NAMES, ["title"], [region]))
    assert once == figure_png(draw_figure(view, NAMES, ["title"], [region]))
    request.getfixturevalue("style")
    before = dict(matplotlib.rcParams)
    assert once == figure_png(draw_figure(view, NAMES, ["title"], [region])), "whatever the user's style"
    assert dict(matplotlib.rcParams) == before, "which stays"


def test_a_notebook_shows_it_where_it_is_a_cell_s_last_value() -> None:
    picture, given, predicted, flagged = an_image()
    figure = draw_figure(make_view(picture, given, predicted, flagged), NAMES, ["title"])
    data, _ = DisplayFormatter().format(figure)
    np.testing.assert_array_equal(decoded(data["image/png"]), decoded(figure_png(figure)))


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with raises(UsageError, r"matplotlib is not there; .*pip install 'masksift\[show\]'"):
        require_matplotlib()
