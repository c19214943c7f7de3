"""What is known of public data sets: classes, ignore values, ids and colours. Facts, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from masksift.prepare.ingest.class_tables import ADE20K, MAPILLARY
from masksift.prepare.ingest.labels import IGNORED, Color, Table


@dataclass(frozen=True)
class Preset:
    """A data set. ``forms``: what label values stand for, by how the names of such files end, before the extension (a
    folder may hold several forms side by side: the first that is there is read); the form "" has any name.
    ``endings``: of all other files, which are no part of an image's name. ``channel``: of colour files, where that one
    holds class numbers."""

    classes: tuple[str, ...]
    forms: Mapping[str, Table]
    colors: Mapping[Color, int] = field(default_factory=dict)
    endings: tuple[str, ...] = ()
    channel: int | None = None


def _cityscapes() -> Preset:
    """cityscapesScripts, helpers/labels.py: ids, train ids and colours. Black is every void class; the pole group has
    the colour of the pole, the license plate that of the car."""
    names = (
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    )
    ids = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
    of_ids = dict.fromkeys(range(-1, 34), IGNORED) | {number: k for k, number in enumerate(ids)}
    of_train_ids = {k: k for k in range(19)} | {-1: IGNORED, 255: IGNORED}
    colors = (
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    )
    void = (
        (0, 0, 0),
        (111, 74, 0),
        (81, 0, 81),
        (250, 170, 160),
        (230, 150, 140),
        (180, 165, 180),
        (150, 100, 100),
        (150, 120, 90),
        (0, 0, 90),
        (0, 0, 110),
    )
    forms = {
        f"_gt{quality}_{form}": table
        for quality in ("Fine", "Coarse")
        for form, table in (("labelIds", of_ids), ("labelTrainIds", of_train_ids), ("color", {}))
    }
    return Preset(names, forms, dict.fromkeys(void, IGNORED) | {c: k for k, c in enumerate(colors)}, ("_leftImg8bit",))


def _synthia() -> Preset:
    """The README of SYNTHIA-RAND-CITYSCAPES: ids 0 to 22 in the first of three 16-bit channels (GT/LABELS); of them the
    16 classes that it shares with Cityscapes, in the order of the latter. Lane markings (22), parking slots (13), road
    works (14), terrain (16), trucks (18) and trains (20) are left out, as is usual."""
    names = (
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "sky",
        "person",
        "rider",
        "car",
        "bus",
        "motorcycle",
        "bicycle",
    )
    ids = (3, 4, 2, 21, 5, 7, 15, 9, 6, 1, 10, 17, 8, 19, 12, 11)
    table = dict.fromkeys(range(23), IGNORED) | {number: k for k, number in enumerate(ids)}
    return Preset(names, {"": table}, channel=0)


def _camvid() -> Preset:
    """CamVid's label_colors.txt, 32 classes, grouped into the eleven of SegNet's training, whose index files (SegNet
    Tutorial) have 11 for void."""
    groups: dict[str, tuple[Color, ...]] = {
        "sky": ((128, 128, 128),),
        # building, bridge, wall, tunnel, archway
        "building": ((128, 0, 0), (0, 128, 64), (64, 192, 0), (64, 0, 64), (192, 0, 128)),
        # column or pole, traffic cone
        "pole": ((192, 192, 128), (0, 0, 64)),
        # road, its markings for driving and for others
        "road": ((128, 64, 128), (128, 0, 192), (192, 0, 64)),
        # sidewalk, parking block, road shoulder
        "pavement": ((0, 0, 192), (64, 192, 128), (128, 128, 192)),
        # tree, other vegetation
        "tree": ((128, 128, 0), (192, 192, 0)),
        # sign, other text, traffic light
        "sign_symbol": ((192, 128, 128), (128, 128, 64), (0, 64, 64)),
        "fence": ((64, 64, 128),),
        # car, pick-up, truck or bus, train, whatever else moves
        "car": ((64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)),
        # pedestrian, child, cart or pram, animal
        "pedestrian": ((64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)),
        # bicyclist, motorcycle or scooter
        "bicyclist": ((0, 128, 192), (192, 0, 192)),
    }
    colors = {color: k for k, group in enumerate(groups.values()) for color in group}
    table = {k: k for k in range(11)} | {11: IGNORED}
    return Preset(tuple(groups), {"": table}, {(0, 0, 0): IGNORED} | colors, ("_L",))


def _voc() -> Preset:
    """PASCAL VOC's development kit: background and 20 classes, 255 for void; the colours of its palette have the bits
    of a number k in turn as the upper bits of red, green and blue."""
    names = (
        "background",
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    )

    def part(k: int, channel: int) -> int:
        return sum((k >> (3 * i + channel) & 1) << (7 - i) for i in range(3))

    colors = {(part(k, 0), part(k, 1), part(k, 2)): k if k < 21 else IGNORED for k in (*range(21), 255)}
    return Preset(names, {"": {k: k for k in range(21)} | {255: IGNORED}}, colors)


def _ade20k() -> Preset:
    """ADE20K's SceneParsing benchmark: 0 is everything else, 1 to 150 are the classes."""
    return Preset(ADE20K, {"": {0: IGNORED} | {k + 1: k for k in range(150)}})


def _mapillary() -> Preset:
    """Mapillary Vistas 1.2: classes 0 to 64, 65 is unlabeled."""
    colors = {color: k for k, color in enumerate(MAPILLARY.values())}
    table = {k: k for k in range(65)} | {65: IGNORED}
    return Preset(tuple(MAPILLARY), {"": table}, {(0, 0, 0): IGNORED} | colors)


PRESETS: Mapping[str, Preset] = {
    "cityscapes": _cityscapes(),
    "synthia": _synthia(),
    "camvid": _camvid(),
    "voc": _voc(),
    "ade20k": _ade20k(),
    "mapillary": _mapillary(),
}
