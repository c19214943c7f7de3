"""Table of the worst images of an audit for notebooks."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masksift.core.text import pluralize
from masksift.engine.image_views import make_view

MAX_ROWS = 10
PICTURE_SIDE_PIXELS = 96


def worst_images_html(
    images: Any,
    ranking: Any,
    class_names: Sequence[str],
    rgb_image: Callable[[int], NDArray[np.uint8]] | None,
) -> str:
    """Return a table of the worst images.

    Args:
        images: Arrow table with a row per image, in order.
        ranking: Arrow table of the scored images, worst first.
        class_names: Names of the classes.
        rgb_image: Returns the RGB image (H, W, 3) of an index, if there are any.

    Returns:
        HTML without scripts and links; pictures are embedded.
    """
    worst = ranking.slice(0, MAX_ROWS).to_pylist()
    rows = [{**images.slice(row["index"], 1).to_pylist()[0], **row} for row in worst]
    title = f"{pluralize(len(images), 'image')}, {len(images) - len(ranking):,} quarantined; the worst {len(rows)}:"
    names = ["rank", *([] if rgb_image is None else [""]), "image", "score", "flagged pixels", "given", "suggested"]
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(f"<tr>{_cells(row, class_names, rgb_image)}</tr>" for row in rows)
    return f"<div>{escape(title)}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _cells(
    row: dict[str, Any], class_names: Sequence[str], rgb_image: Callable[[int], NDArray[np.uint8]] | None
) -> str:
    picture = [] if rgb_image is None else [_picture(rgb_image(row["index"]))]
    pair = ["" if (k := row[name]) is None else escape(class_names[k]) for name in ("worst_given", "worst_suggested")]
    texts = [escape(str(row["image_id"])), f"{row['score']:.4f}", f"{row['flagged_pixels']:,}", *pair]
    return "".join(f"<td>{text}</td>" for text in [str(row["rank"]), *picture, *texts])


def _picture(image: NDArray[np.uint8]) -> str:
    """Return a reduced image as an element with its bytes."""
    data = io.BytesIO()
    reduced = make_view(image, image[..., 0], None, None, PICTURE_SIDE_PIXELS).rgb
    Image.fromarray(np.asarray(reduced)).save(data, "PNG")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">'
