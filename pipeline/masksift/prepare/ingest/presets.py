"""Presets of public data sets: classes, ignored values, ids and colors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from masksift.prepare.ingest.class_tables.aerial import FLOODNET, ISAID, ISPRS, LOVEDA
from masksift.prepare.ingest.class_tables.everyday import (
    ADE20K,
    ADE20K_COLORS,
    COCO_STUFF,
    COCO_STUFF_UNUSED,
    PASCAL_CONTEXT,
    VOC,
)
from masksift.prepare.ingest.class_tables.street import (
    BDD100K_VOID,
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_VOID,
    MAPILLARY,
    MAPILLARY_V2,
    SYNTHIA,
)
from masksift.prepare.ingest.labels import IGNORED, ClassMap, Color
from masksift.prepare.ingest.matching import stem


@dataclass(frozen=True)
class Preset:
    """Facts about a data set.

    Attributes:
        classes: Names of the classes.
        encodings: Class of each label value by the end of the file names, before the extension ("" matches any name).
            A directory may hold several encodings side by side; the first one present is read.
        colors: Class of each color of color files.
        suffixes: Ends of the names of all other files, which are not part of an image's name.
        class_channel: Channel of color files that holds class numbers.
        palette: Color of each class, for display; default: its first color in color files.
        has_own_names: No other data set has files with the ends in ``encodings``, "" excepted.
    """

    classes: tuple[str, ...]
    encodings: Mapping[str, ClassMap]
    colors: Mapping[Color, int] = field(default_factory=dict)
    suffixes: tuple[str, ...] = ()
    class_channel: int | None = None
    palette: tuple[Color, ...] = ()
    has_own_names: bool = False

    @property
    def class_colors(self) -> tuple[Color, ...]:
        """Color of each class; empty if the data set has none."""
        return self.palette or first_colors(self.colors, len(self.classes))


def first_colors(colors: Mapping[Color, int], classes: int) -> tuple[Color, ...]:
    """Return the first color of each class, up to 8 bits per channel; empty unless every class has one."""
    first: dict[int, Color] = {}
    for color, k in colors.items():
        if max(color) <= 255:
            first.setdefault(k, color)
    return tuple(first[k] for k in range(classes)) if first.keys() >= {*range(classes)} else ()


def preset_of_file_names(names: Iterable[str]) -> str | None:
    """Return the preset whose label files have names like these, None if no name tells."""
    stems = [stem(name) for name in names]
    for preset, facts in PRESETS.items():
        endings = tuple(ending for ending in facts.encodings if ending and facts.has_own_names)
        if any(name.endswith(endings) for name in stems):
            return preset
    return None


def presets_of_colors(colors: Collection[Color]) -> list[list[str]]:
    """Return the presets that have all these colors, in groups that give them the same classes.

    Fewer than three colors of classes tell nothing: any mask may be black and white, or red on black.
    """
    groups: dict[Any, list[str]] = {}
    for name, preset in PRESETS.items():
        meaning = {color: preset.colors.get(color) for color in colors}
        if None not in meaning.values() and len({*meaning.values()} - {IGNORED}) >= 3:
            groups.setdefault((preset.classes, *sorted(meaning.items())), []).append(name)
    return list(groups.values())


def _indices(ids: Iterable[int], ignored: Iterable[int]) -> dict[int, int]:
    """Number the ids from 0 on; ``ignored`` comes first, so that an id in both is a class."""
    return dict.fromkeys(ignored, IGNORED) | {number: k for k, number in enumerate(ids)}


def _colors(table: Iterable[Sequence[int]], ignored: Iterable[Sequence[int]]) -> dict[Color, int]:
    """Number the rows of ``table``, each of one or more colors in sequence, from 0 on."""
    rows = [(IGNORED, row) for row in ignored] + list(enumerate(table))
    return {(row[i], row[i + 1], row[i + 2]): k for k, row in rows for i in range(0, len(row), 3)}


CITYSCAPES_COLORS = [color for _, *color in CITYSCAPES.values()]
_CITYSCAPES_IDS = _indices([number for number, *_ in CITYSCAPES.values()], range(-1, 34))
_CITYSCAPES_TRAIN_IDS = _indices(range(19), (-1, 255))


def _street_scenes(
    encodings: Mapping[str, ClassMap],
    suffixes: tuple[str, ...] = (),
    void: Mapping[str, Sequence[int]] = CITYSCAPES_VOID,
    *,
    has_own_names: bool = False,
) -> Preset:
    """Describe a data set with the classes and colors of Cityscapes."""
    colors = _colors(CITYSCAPES_COLORS, void.values())
    return Preset(tuple(CITYSCAPES), encodings, colors, suffixes, has_own_names=has_own_names)


def _cityscapes() -> Preset:
    encodings: tuple[tuple[str, ClassMap], ...] = (
        ("labelIds", _CITYSCAPES_IDS),
        ("labelTrainIds", _CITYSCAPES_TRAIN_IDS),
        ("color", {}),
    )
    by_suffix = {f"_gt{quality}_{name}": table for quality in ("Fine", "Coarse") for name, table in encodings}
    return _street_scenes(by_suffix, ("_leftImg8bit",), has_own_names=True)


def _voc() -> Preset:
    """Derive the palette: the bits of number k in turn are the upper bits of red, green and blue; 255 is void."""

    def level(k: int, channel: int) -> int:
        return sum((k >> (3 * i + channel) & 1) << (7 - i) for i in range(3))

    colors = {(level(k, 0), level(k, 1), level(k, 2)): k if k < 21 else IGNORED for k in (*range(21), 255)}
    return Preset(VOC, {"": _indices(range(21), [255])}, colors)


def _coco_stuff(classes: Sequence[str]) -> Preset:
    """Describe COCO-Stuff with these classes of all 182."""
    values = _indices([COCO_STUFF.index(name) for name in classes], [255])
    if len(classes) == len(COCO_STUFF):
        return Preset(tuple(classes), {"": values})
    return Preset(tuple(classes), {"_labelTrainIds": _indices(range(len(classes)), [255]), "": values})


def _isprs(encodings: Iterable[str], suffixes: tuple[str, ...] = ()) -> Preset:
    """Describe a benchmark of ISPRS: colors, or the numbers of mmsegmentation, which count from 1."""
    table = _indices(range(1, 7), [0])
    return Preset(tuple(ISPRS), dict.fromkeys(encodings, table), _colors(ISPRS.values(), [(0, 0, 0)]), suffixes)


def _footprints(foreground: str) -> Preset:
    """Describe binary masks of SpaceNet, which publishes polygons: tools burn 1 or 255 into a background of 0."""
    return Preset(("background", foreground), {"": {0: 0, 1: 1, 255: 1}})


def _palette(table: Iterable[Sequence[int]]) -> tuple[Color, ...]:
    return tuple((red, green, blue) for red, green, blue in table)


PRESETS: Mapping[str, Preset] = {
    "cityscapes": _cityscapes(),
    "acdc": _street_scenes(
        {"_gt_labelTrainIds": _CITYSCAPES_TRAIN_IDS, "_gt_labelIds": _CITYSCAPES_IDS, "_gt_labelColor": {}},
        ("_rgb_anon",),
        has_own_names=True,
    ),
    "kitti": _street_scenes({"": _CITYSCAPES_IDS}),
    "bdd100k": _street_scenes(
        {"_train_id": _CITYSCAPES_TRAIN_IDS, "_train_color": {}, "": _CITYSCAPES_TRAIN_IDS}, void=BDD100K_VOID
    ),
    # class numbers are in the first of three 16-bit channels (GT/LABELS); classes have the colors of Cityscapes
    "synthia": Preset(
        tuple(SYNTHIA),
        {"": _indices((number for (number,) in SYNTHIA.values()), range(23))},
        class_channel=0,
        palette=_palette(CITYSCAPES[name][1:] for name in SYNTHIA),
    ),
    # the index files of the SegNet Tutorial have 11 for void
    "camvid": Preset(tuple(CAMVID), {"": _indices(range(11), [11])}, _colors(CAMVID.values(), [(0, 0, 0)]), ("_L",)),
    # 65 is unlabeled
    "mapillary": Preset(tuple(MAPILLARY), {"": _indices(range(65), [65])}, _colors(MAPILLARY.values(), [(0, 0, 0)])),
    # 123 is unlabeled; several classes share a color
    "mapillary-v2": Preset(
        tuple(MAPILLARY_V2), {"": _indices(range(123), [123])}, palette=_palette(MAPILLARY_V2.values())
    ),
    "voc": _voc(),
    # 0 is everything else
    "ade20k": Preset(ADE20K, {"": _indices(range(1, 151), [0])}, palette=ADE20K_COLORS),
    "coco-stuff": _coco_stuff([name for name in COCO_STUFF if name not in COCO_STUFF_UNUSED]),
    "coco-stuff-182": _coco_stuff(COCO_STUFF),
    # 0 is the background
    "pascal-context-59": Preset(PASCAL_CONTEXT[1:], {"": _indices(range(1, 60), [0, 255])}),
    "pascal-context-60": Preset(PASCAL_CONTEXT, {"": _indices(range(60), [255])}),
    "potsdam": _isprs(("_label_noBoundary", "_label", ""), ("_RGB", "_RGBIR", "_IRRG")),
    "vaihingen": _isprs(("_noBoundary", "")),
    # 0 is no data
    "loveda": Preset(tuple(LOVEDA), {"": _indices(range(1, 8), [0])}, palette=_palette(LOVEDA.values())),
    # the crops of mmsegmentation have this name too, and class numbers with 255 for padding
    "isaid": Preset(
        tuple(ISAID),
        dict.fromkeys(("_instance_color_RGB", ""), _indices(range(16), [255])),
        _colors(ISAID.values(), []),
        has_own_names=True,
    ),
    "floodnet": Preset(
        tuple(FLOODNET), dict.fromkeys(("_lab", ""), _indices(range(10), [])), _colors(FLOODNET.values(), [])
    ),
    "spacenet-buildings": _footprints("building"),
    "spacenet-roads": _footprints("road"),
}
