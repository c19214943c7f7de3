"""Find the input files of an ingest, detect their formats, and match labels with predictions."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from masksift.annotations import label_map
from masksift.annotations.recognize import find_annotations
from masksift.annotations.shapes import ClassNumbers, ShapeFiles, ShapeLabels
from masksift.core.errors import DataError, UsageError
from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.prepare.ingest.array_formats import EXTENSIONS, is_array_file
from masksift.prepare.ingest.array_formats.stored_array import StoredArray
from masksift.prepare.ingest.array_inputs import find_label_arrays, find_prediction_arrays, read_ids
from masksift.prepare.ingest.coco_panoptic import read_panoptic
from masksift.prepare.ingest.config import IngestConfig
from masksift.prepare.ingest.labels import IGNORED, ClassMap, Color, InputPair, read_color_table
from masksift.prepare.ingest.matching import Matching, match, stem
from masksift.prepare.ingest.nnunet import first_channel
from masksift.prepare.ingest.predictions import PredictionFormat
from masksift.prepare.ingest.presets import PRESETS, Preset
from masksift.prepare.ingest.raster import LOSSLESS_EXTENSIONS, OTHER_EXTENSIONS, RGB_EXTENSIONS, image_size
from masksift.prepare.ingest.table_inputs import find_cells, read_class_names
from masksift.prepare.ingest.volume_inputs import match_volumes
from masksift.prepare.ingest.volumes import VOLUME_EXTENSIONS, is_volume
from masksift.storage.files import Files, find_files, open_file
from masksift.storage.patterns import has_wildcard
from masksift.storage.table_images import IMAGE_COLUMNS, LABEL_COLUMNS

SIDES = ("labels", "predictions")
_P = TypeVar("_P", "_PredictionFiles", None)


@dataclass(frozen=True)
class Inputs:
    """Inputs of an ingest."""

    pairs: tuple[InputPair, ...]
    prediction_format: PredictionFormat | None  # None without predictions
    classes: tuple[str, ...] | None  # None if neither inputs nor configuration name them
    values: ClassMap | None = None  # None if label values are class numbers
    colors: Mapping[Color, int] = field(default_factory=dict)
    rules: tuple[str, ...] = ()  # descriptions of the comparisons that matched files
    unmatched: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # files without a partner, by side
    skipped_labels: int = 0  # label files in other encodings of the preset
    background: int | None = None  # class of pixels that no shape covers
    use_palette: bool = False  # palette images are read as colors
    label_root: str = ""  # URL of the directory of the label files


@dataclass(frozen=True)
class _LabelFiles:
    """Label files."""

    keys: tuple[str, ...]  # names for matching; () for arrays of all images without names
    files: tuple[str, ...]  # names in messages
    urls: tuple[str | StoredArray, ...]
    ids: tuple[str, ...] = ()  # alternative names for matching
    segments: tuple[tuple[tuple[int, int], ...], ...] = ()
    shapes: tuple[ShapeLabels, ...] = ()
    skipped: int = 0
    root: str = ""  # URL of the directory that `files` are relative to

    def pair(self, i: int, name: str, predictions: Any, rgb: str | None) -> InputPair:
        """Pair a label with predictions and RGB image."""
        segments = self.segments[i] if self.segments else None
        shapes = self.shapes[i] if self.shapes else None
        return InputPair(name, self.urls[i], predictions, rgb, segments, shapes)


@dataclass(frozen=True)
class _PredictionFiles:
    """Predictions of each image."""

    format: PredictionFormat
    files: tuple[str, ...]  # names in messages
    locations: tuple[Any, ...]
    keys: tuple[str, ...]  # names for matching; () for arrays of all images without names


def discover_inputs(config: IngestConfig, options: Mapping[str, Any]) -> Inputs:
    """Find and match all inputs; UsageError for contradictory options, DataError for missing or ambiguous files."""
    preset = PRESETS[config.preset] if config.preset else Preset((), {})
    classes, colors = config.classes or preset.classes or None, preset.colors
    if preset.classes and len(classes or ()) != len(preset.classes):
        if config.remap is None:
            raise UsageError(
                f"Preset {config.preset} has {len(preset.classes)} classes, but --classes names {len(classes or ())}",
                "Drop --classes, or pass --remap 7:0,8:1 to map label values to your classes",
            )
        colors = {}
    if config.colors is not None:
        classes, colors = read_color_table(config.colors, options, classes)
    if (inputs := _find_label_map_inputs(config, options)) is not None:
        return inputs
    values: ClassMap | None = None
    if (shapes := _read_shapes(config, options)) is not None:
        files = _LabelFiles(
            tuple(stem(name) for name in shapes.names), shapes.names, shapes.urls, shapes.ids, shapes=shapes.labels
        )
        inputs = _match_files(config, files, shapes.classes, preset.suffixes, options)
        return replace(inputs, pairs=_with_sizes(inputs.pairs, options), background=shapes.background)
    if config.background is not None:
        raise UsageError(
            f"background is {config.background!r}, but the labels are pixels ({config.labels})",
            "Drop --background; pass --ignore for values without a class",
        )
    if is_array_file(config.labels):
        arrays, values = find_label_arrays(config, preset, options)
        keys = tuple(stem(name) for name in arrays.names)
        labels = _LabelFiles(keys, tuple(one.location for one in arrays.arrays), arrays.arrays)
    elif config.labels.endswith(".json"):
        labels, categories = _find_panoptic(config, options)
        classes = classes or categories
        if len(classes) != len(categories):
            raise UsageError(
                f"{config.labels} has {len(categories)} categories, but --classes names {len(classes)}",
                "Drop --classes: the categories have names",
            )
    else:
        labels, values = _find_label_images(config, preset, options)
        if is_volume(labels.files[0]):
            return _find_volumes(config, labels, classes, values, options)
        if classes is None and config.remap is None:
            classes = read_class_names(labels.root, options)
    inputs = _match_files(config, labels, classes, preset.suffixes, options)
    return replace(inputs, values=values, colors=colors, label_root=labels.root)


def _find_volumes(
    config: IngestConfig,
    labels: _LabelFiles,
    classes: tuple[str, ...] | None,
    values: ClassMap | None,
    options: Mapping[str, Any],
) -> Inputs:
    """Match volumes, whose slices are the images."""
    files = Files(config.labels, labels.root, labels.files)
    pairs, prediction_format, rules, unmatched = match_volumes(config, files, options)
    return Inputs(pairs, prediction_format, classes, values, rules=rules, unmatched=unmatched, label_root=labels.root)


def has_annotations(labels: str, options: Mapping[str, Any], images: str | None = None) -> bool:
    """Return whether labels are annotations, which name their classes."""
    if is_array_file(labels):
        return False
    if labels.endswith(".json") or find_annotations(labels, options, images) is not None:
        return True
    return _read_label_map(labels, options) is not None


def _read_label_map(labels: str, options: Mapping[str, Any]) -> dict[Color, str] | None:
    """Read the label map in a directory of CVAT's Segmentation mask 1.1; None for other labels."""
    if has_wildcard(labels) or labels.endswith((".npy", ".json", ".xml", ".zip")):
        return None
    url = f"{labels.rstrip('/')}/{label_map.FILE}"
    try:
        with open_file(url, options) as file:
            content = file.read(1 << 20)
    except DataError:  # no such file
        return None
    return label_map.parse_label_map(content.decode("utf-8-sig", "replace"), url)


def _find_label_map_inputs(config: IngestConfig, options: Mapping[str, Any]) -> Inputs | None:
    """Match the masks of a directory with a label map; None for other labels."""
    names = None if config.preset or config.colors else _read_label_map(config.labels, options)
    if names is None:
        return None
    stored = [name for name in names.values() if name != label_map.BACKGROUND]
    numbers = ClassNumbers(stored, config.classes, config.background, config.labels)
    background = IGNORED if numbers.background is None else numbers.background
    colors = {color: background if name == label_map.BACKGROUND else numbers[name] for color, name in names.items()}
    masks = config.model_copy(update={"labels": f"{config.labels.rstrip('/')}/{label_map.MASKS}"})
    files, _ = _find_label_images(masks, Preset((), {}), options)
    inputs = _match_files(config, files, numbers.names, (), options)
    return replace(inputs, colors=colors, use_palette=True, label_root=files.root)


def _read_shapes(config: IngestConfig, options: Mapping[str, Any]) -> ShapeFiles | None:
    """Read labels that are polygons and masks of annotations; None for labels that are pixels."""
    read = None if is_array_file(config.labels) else find_annotations(config.labels, options, config.images)
    if read is None:
        return None
    for key in ("preset", "colors", "remap", "label_offset", "ignore"):
        if getattr(config, key) not in (None, ()):
            raise UsageError(
                f"{key} is set, but the labels are annotations ({config.labels}), which name their classes",
                f"Drop --{key}, and pass --classes for their order",
            )
    found = read(config.classes, config.background)
    if not found.names:
        raise DataError(f"{config.labels} has no images", "Use a file with annotations")
    return found


def _with_sizes(pairs: tuple[InputPair, ...], options: Mapping[str, Any]) -> tuple[InputPair, ...]:
    """Take the size of shapes that have none from the header of their image."""
    if all(pair.shapes is None or pair.shapes.height for pair in pairs):
        return pairs
    with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS) as pool:
        return tuple(pool.map(lambda pair: _with_size(pair, options), pairs))


def _with_size(pair: InputPair, options: Mapping[str, Any]) -> InputPair:
    if pair.shapes is None or pair.shapes.height:
        return pair
    if not isinstance(pair.rgb, str):
        raise DataError(
            f"The annotation of {pair.name} in {pair.label} has no size, and no image matches it",
            "Pass the images as --images",
        )
    size, _ = image_size(pair.rgb, options)
    return replace(pair, shapes=pair.shapes.with_size(*size))


def _find_panoptic(config: IngestConfig, options: Mapping[str, Any]) -> tuple[_LabelFiles, tuple[str, ...]]:
    if config.remap is not None or config.colors is not None or config.ignore:
        raise UsageError(
            f"Labels are COCO panoptic ({config.labels}), whose categories are the classes",
            "Drop --remap, --ignore and --colors",
        )
    annotations = read_panoptic(config.labels, options)
    keys = tuple(stem(name) for name in annotations.files)
    files = _LabelFiles(keys, annotations.files, annotations.urls, annotations.ids, annotations.segments)
    return files, annotations.classes


def _find_label_images(
    config: IngestConfig, preset: Preset, options: Mapping[str, Any]
) -> tuple[_LabelFiles, ClassMap | None]:
    """List the label files in the first encoding of the preset that is present, with the classes of its values."""
    cells = find_cells(config.labels, options, LABEL_COLUMNS)
    files, ids = cells or (_find_mask_files(config.labels, config.predictions, options), ())
    image_names = dict(zip(files.names, ids or files.names, strict=True))
    stems = {name: stem(image_name) for name, image_name in image_names.items()}
    encoding = next((end for end in preset.encodings if any(name.endswith(end) for name in stems.values())), None)
    if encoding is None and preset.encodings and config.remap is None:
        raise DataError(
            f"No label file in {config.labels} has a name of {config.preset} (ending with "
            f"{', '.join(preset.encodings)})",
            "The meaning of its values is ambiguous",
            "Rename the files, or add --remap 7:0,8:1 to --preset",
        )
    names = [name for name in files.names if stems[name].endswith(encoding or "")]
    suffixes = [encoding, *preset.suffixes] if encoding else preset.suffixes
    keys = tuple(stem(image_names[name], suffixes) for name in names)
    skipped = len(files.names) - len(names)
    labels = _LabelFiles(keys, tuple(names), tuple(map(files.url, names)), skipped=skipped, root=files.root)
    return labels, None if encoding is None else preset.encodings[encoding]


def find_label_files(labels: str, predictions: str | None, options: Mapping[str, Any]) -> Files:
    """List the cells of tables, or files of masks."""
    cells = find_cells(labels, options, LABEL_COLUMNS)
    return _find_mask_files(labels, predictions, options) if cells is None else cells[0]


def _find_mask_files(labels: str, predictions: str | None, options: Mapping[str, Any]) -> Files:
    """List PNG and TIFF files, or else volumes or arrays, or else other images, which are often the pictures."""
    files = find_files(labels, options, (*LOSSLESS_EXTENSIONS, *EXTENSIONS, *VOLUME_EXTENSIONS, *OTHER_EXTENSIONS))
    images, arrays, volumes, others = (
        tuple(name for name in files.names if name.lower().endswith(endings))
        for endings in (LOSSLESS_EXTENSIONS, EXTENSIONS, VOLUME_EXTENSIONS, OTHER_EXTENSIONS)
    )
    if images and arrays:  # the arrays may be predictions in the directory of the labels
        urls = set[str]()
        if predictions is not None:
            prediction_files = find_files(predictions, options, EXTENSIONS)
            urls = set(map(prediction_files.url, prediction_files.names))
        if spare := next((name for name in arrays if files.url(name) not in urls), None):
            raise DataError(
                f"{files.place} holds images and arrays ({images[0]} and {spare})",
                "Either could be the labels",
                "Use a glob, such as 'DIRECTORY/*.png'",
            )
    return replace(files, names=images or volumes or arrays or others)


def _match_files(
    config: IngestConfig,
    labels: _LabelFiles,
    classes: tuple[str, ...] | None,
    suffixes: Sequence[str],
    options: Mapping[str, Any],
) -> Inputs:
    """Match labels with predictions and, if configured, RGB images."""
    if config.predictions is None:
        return _match_images_only(config, labels, classes, suffixes, options)
    found = find_prediction_arrays(config.predictions, labels.keys, options)
    if found is None:
        predictions = _find_prediction_files(config.predictions, labels, classes, suffixes, options)
    else:
        keys = tuple(stem(name) for name in found.names)
        predictions = _PredictionFiles("arrays", tuple(one.location for one in found.arrays), found.arrays, keys)
    labels, predictions = _name_images(config, labels, predictions, options)
    matching = _match_positions(config, labels, predictions) if not labels.keys else None
    matching = matching or _match_labels(labels, predictions.keys, SIDES)
    unmatched = {
        "labels": tuple(labels.files[i] for i in matching.unmatched[0]),
        "predictions": tuple(predictions.files[i] for i in matching.unmatched[1]),
    }
    rules = [f"labels and predictions: {matching.rule}"]
    rgb: dict[int, str] = {}
    if config.images is not None:
        matched = [i for i, _ in matching.pairs]
        names = labels.keys or tuple(stem(name) for name in labels.ids)
        images, image_keys = _find_images(config.images, names, suffixes, options)
        image_matching = match([names[i] for i in matched], image_keys, ("labels", "images"))
        rgb = {matched[i]: images.url(images.names[j]) for i, j in image_matching.pairs}
        unmatched |= {
            "labels without an image": tuple(labels.files[matched[i]] for i in image_matching.unmatched[0]),
            "images": tuple(images.names[j] for j in image_matching.unmatched[1]),
        }
        rules.append(f"labels and images: {image_matching.rule}")
    locations = predictions.locations
    pairs = tuple(labels.pair(i, matching.names[i], locations[j], rgb.get(i)) for i, j in matching.pairs)
    unmatched = {side: files for side, files in unmatched.items() if files}
    return Inputs(
        pairs, predictions.format, classes, rules=tuple(rules), unmatched=unmatched, skipped_labels=labels.skipped
    )


def _match_images_only(
    config: IngestConfig,
    labels: _LabelFiles,
    classes: tuple[str, ...] | None,
    suffixes: Sequence[str],
    options: Mapping[str, Any],
) -> Inputs:
    """Match labels with RGB images where there are no predictions. An image is read, so a label needs one."""
    assert config.images is not None
    labels, _ = _name_images(config, labels, None, options)
    files, keys = _find_images(config.images, labels.keys, suffixes, options)
    matching = _match_labels(labels, keys, ("labels", "images"))
    unmatched = {
        "labels": tuple(labels.files[i] for i in matching.unmatched[0]),
        "images": tuple(files.names[j] for j in matching.unmatched[1]),
    }
    pairs = tuple(labels.pair(i, matching.names[i], None, files.url(files.names[j])) for i, j in matching.pairs)
    unmatched = {side: names for side, names in unmatched.items() if names}
    rules = (f"labels and images: {matching.rule}",)
    return Inputs(pairs, None, classes, rules=rules, unmatched=unmatched, skipped_labels=labels.skipped)


def _find_images(
    place: str, labels: Sequence[str], suffixes: Sequence[str], options: Mapping[str, Any]
) -> tuple[Files, list[str]]:
    """List RGB images and their names for matching; of nnU-Net's files per channel those of the first channel."""
    if (cells := find_cells(place, options, IMAGE_COLUMNS)) is not None:
        return cells[0], [stem(name, suffixes) for name in cells[1]]
    files = find_files(place, options, RGB_EXTENSIONS)
    keys = [stem(name, suffixes) for name in files.names]
    if (channels := first_channel(keys, labels)) is not None:
        return replace(files, names=tuple(files.names[i] for i in channels)), list(channels.values())
    return files, keys


def _match_positions(config: IngestConfig, labels: _LabelFiles, predictions: _PredictionFiles) -> Matching:
    """Match two arrays of all images, neither of which has names."""
    images = len(labels.files)
    if images != len(predictions.files):
        raise DataError(
            f"{config.labels} holds {images:,} images, {config.predictions} {len(predictions.files):,}",
            "Use arrays of the same images",
        )
    if config.images is not None and not labels.ids:
        raise UsageError(
            f"{config.labels} holds {images:,} images without names, but images are {config.images}",
            "Pass --ids FILE with the name of one image per line, in the order of the array, or drop --images",
        )
    return Matching(tuple((i, i) for i in range(images)), ((), ()), labels.ids or ("",) * images, "by position")


def _find_prediction_files(
    place: str,
    labels: _LabelFiles,
    classes: tuple[str, ...] | None,
    suffixes: Sequence[str],
    options: Mapping[str, Any],
) -> _PredictionFiles:
    files = find_files(place, options, (*EXTENSIONS, *LOSSLESS_EXTENSIONS))
    prediction_format, locations = _detect_format(files, labels, classes)
    names = tuple(locations)
    keys = names if prediction_format == "planes" else tuple(stem(name, suffixes) for name in names)
    return _PredictionFiles(prediction_format, names, tuple(locations.values()), keys)


def _match_labels(labels: _LabelFiles, keys: Sequence[str], sides: tuple[str, str]) -> Matching:
    """Match by the names of the label files or, if none matches, by the image ids of their annotations."""
    try:
        return match(labels.keys, keys, sides)
    except DataError:
        if not set(labels.ids) & set(keys):
            raise
    return match(labels.ids, keys, sides)


def _detect_format(
    files: Files, labels: _LabelFiles, classes: Sequence[str] | None
) -> tuple[PredictionFormat, dict[str, Any]]:
    """Detect the format, and locate predictions by file name, or by directory if it holds an image per class."""
    arrays = [name for name in files.names if name.lower().endswith(EXTENSIONS)]
    others = [name for name in files.names if name not in set(arrays)]
    # nnU-Net writes class numbers and, with --save_probabilities, probabilities of the same name
    if arrays and others and {stem(name) for name in arrays} != {stem(name) for name in others}:
        other = others[0]
        raise DataError(
            f"{files.place} holds arrays and images ({arrays[0]} and {other})",
            "Either could be the predictions",
            "Use a glob, such as 'DIRECTORY/*.npy'",
        )
    if arrays:
        return "arrays", {name: files.url(name) for name in arrays}
    is_per_image = not {stem(name) for name in files.names}.isdisjoint(labels.keys)  # frames 0, 1, ... of a scene
    if not is_per_image and (directories := _class_directories(files, classes)) is not None:
        return "planes", directories
    return "numbers", {name: files.url(name) for name in files.names}


def _class_directories(files: Files, classes: Sequence[str] | None) -> dict[str, tuple[str, ...]] | None:
    """List URLs in class order by directory, or None unless every file is named by a class or its number."""
    numbers = {unicodedata.normalize("NFC", name): k for k, name in enumerate(classes or ())}
    directories: dict[str, dict[int, str]] = {}
    for name in files.names:
        directory, _, word = stem(name).rpartition("/")
        k = numbers.get(word, int(word) if word.isdecimal() else -1)
        if not directory or not 0 <= k < (len(numbers) or 1 << 16):
            return None
        if k in directories.setdefault(directory, {}):
            raise DataError(
                f"{directories[directory][k]} and {name} are both for class {k}", "Remove one of the two files"
            )
        directories[directory][k] = name
    count = len(numbers) or 1 + max(map(max, directories.values()))
    for directory, planes in directories.items():
        if len(planes) < count:
            missing = next(k for k in range(count) if k not in planes)
            raise DataError(
                f"{directory} in {files.place} holds {len(planes)} of {count} classes and lacks class {missing}",
                "Write a grayscale image per class, named by class or number",
            )
    return {directory: tuple(files.url(planes[k]) for k in range(count)) for directory, planes in directories.items()}


def _name_images(
    config: IngestConfig, labels: _LabelFiles, predictions: _P, options: Mapping[str, Any]
) -> tuple[_LabelFiles, _P]:
    """Name the images of an array by --ids. Two arrays without names are matched by position."""
    unnamed = [side for side in (labels, predictions) if side is not None and not side.keys]
    place = str(config.labels if labels in unnamed else config.predictions)
    if config.ids is None and len(unnamed) == 1:
        others = config.labels if unnamed[0] is predictions else config.predictions or config.images
        raise UsageError(
            f"{place} holds {len(unnamed[0].files):,} images without names",
            f"They cannot be matched by name with {others}",
            "Pass --ids FILE with the name of one image per line, in the order of the array",
        )
    if config.ids is None:
        return labels, predictions
    if not unnamed:
        raise UsageError(
            f"ids is {config.ids!r}, but the inputs are files, whose names are the image ids",
            "Drop --ids, or use one array of all labels or of all predictions",
        )
    ids = read_ids(config.ids, len(unnamed[0].files), place, options)
    if len(unnamed) == 2:
        return replace(labels, ids=ids), predictions
    keys = tuple(stem(name) for name in ids)
    if labels in unnamed:
        return replace(labels, keys=keys), predictions
    assert predictions is not None
    return labels, replace(predictions, keys=keys)
