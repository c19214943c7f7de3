"""Label maps of CVAT's Segmentation mask 1.1, in the layout of Pascal VOC: names and colors of classes."""

from __future__ import annotations

from masksift.core.errors import DataError

FILE, MASKS = "labelmap.txt", "SegmentationClass"
"""Names of the label map and of the directory with the masks."""
BACKGROUND = "background"
"""Name of pixels without a label."""


def parse_label_map(text: str, place: str) -> dict[tuple[int, int, int], str]:
    """Return the name of each color.

    Args:
        text: Content of the file.
        place: Name of the file, for errors.

    Returns:
        Names by color, in the order of the file.

    Raises:
        DataError: A line is not a name and a color.
    """
    names: dict[tuple[int, int, int], str] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        try:
            red, green, blue = (int(level) for level in rest.split(":")[0].split(","))
        except ValueError as e:
            raise DataError(
                f"{place} has the line {line!r}, which is not a name and a color", "Download the annotations again"
            ) from e
        names[red, green, blue] = name
    return names
