"""Presets of public data sets: classes, ignored values, ids and colors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from masksift.prepare.ingest.class_tables import ADE20K, CAMVID, CITYSCAPES, CITYSCAPES_VOID, MAPILLARY, SYNTHIA, VOC
from masksift.prepare.ingest.labels import IGNORED, ClassMap, Color
from masksift.prepare.ingest.matching import stem


@dataclass(frozen=True)
class Preset:
    """Facts about a data set.

    ``encodings`` gives the class of each label value by the end of the file names, before the extension ("" matches any
    name). A directory may hold several encodings side by side; the first one present is read.
    """

    classes: tuple[str, ...]
    encodings: Mapping[str, ClassMap]
    colors: Mapping[Color, int] = field(default_factory=dict)
    suffixes: tuple[str, ...] = ()  # ends of the names of all other files, which are not part of an image's name
    class_channel: int | None = None  # channel of color files that holds class numbers
    palette: tuple[Color, ...] = ()  # color of each class, for display


def preset_of_file_names(names: Iterable[str]) -> str | None:
    """Return the preset whose label files have names like these, None if no name tells."""
    stems = [stem(name) for name in names]
    for preset, facts in PRESETS.items():
        endings = tuple(ending for ending in facts.encodings if ending)
        if any(name.endswith(endings) for name in stems):
            return preset
    return None


def _indices(ids: Iterable[int], ignored: Iterable[int]) -> dict[int, int]:
    """Number the ids from 0 on; ``ignored`` comes first, so that an id in both is a class."""
    return dict.fromkeys(ignored, IGNORED) | {number: k for k, number in enumerate(ids)}


def _colors(table: Iterable[Sequence[int]], ignored: Iterable[Sequence[int]]) -> dict[Color, int]:
    """Number the rows of ``table``, each of one or more colors in sequence, from 0 on."""
    rows = [(IGNORED, row) for row in ignored] + list(enumerate(table))
    return {(row[i], row[i + 1], row[i + 2]): k for k, row in rows for i in range(0, len(row), 3)}


def _cityscapes() -> Preset:
    ids = [number for number, *_ in CITYSCAPES.values()]
    colors = _colors([color for _, *color in CITYSCAPES.values()], CITYSCAPES_VOID.values())
    encodings: tuple[tuple[str, ClassMap], ...] = (
        ("labelIds", _indices(ids, range(-1, 34))),
        ("labelTrainIds", _indices(range(19), (-1, 255))),
        ("color", {}),
    )
    by_suffix = {f"_gt{quality}_{name}": table for quality in ("Fine", "Coarse") for name, table in encodings}
    return Preset(tuple(CITYSCAPES), by_suffix, colors, ("_leftImg8bit",))


def _voc() -> Preset:
    """Derive the palette: the bits of number k in turn are the upper bits of red, green and blue; 255 is void."""

    def level(k: int, channel: int) -> int:
        return sum((k >> (3 * i + channel) & 1) << (7 - i) for i in range(3))

    colors = {(level(k, 0), level(k, 1), level(k, 2)): k if k < 21 else IGNORED for k in (*range(21), 255)}
    return Preset(VOC, {"": _indices(range(21), [255])}, colors)


PRESETS: Mapping[str, Preset] = {
    "cityscapes": _cityscapes(),
    # class numbers are in the first of three 16-bit channels (GT/LABELS)
    "synthia": Preset(
        tuple(SYNTHIA), {"": _indices((number for (number,) in SYNTHIA.values()), range(23))}, class_channel=0
    ),
    # the index files of the SegNet Tutorial have 11 for void
    "camvid": Preset(tuple(CAMVID), {"": _indices(range(11), [11])}, _colors(CAMVID.values(), [(0, 0, 0)]), ("_L",)),
    "voc": _voc(),
    # 0 is everything else
    "ade20k": Preset(ADE20K, {"": _indices(range(1, 151), [0])}),
    # 65 is unlabeled
    "mapillary": Preset(tuple(MAPILLARY), {"": _indices(range(65), [65])}, _colors(MAPILLARY.values(), [(0, 0, 0)])),
}
