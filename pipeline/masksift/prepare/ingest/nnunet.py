"""Classes and ignored value of an nnU-Net data set, from its `dataset.json`, and the names of its images.

Format: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md; version 1 has the numbers of the
labels as keys, version 2 as values.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from masksift.core.errors import DataError
from masksift.prepare.ingest.config import IngestConfig
from masksift.storage.files import read_json
from masksift.storage.urls import join, split_url

FILE = "dataset.json"
_DIRECTORIES = ("labelsTr", "labelsTs")
"""Names that nnU-Net gives to directories of labels."""
_IGNORE = "ignore"
"""Name of the label that nnU-Net ignores."""
_CHANNEL = re.compile(r".*_\d{4}")


@dataclass(frozen=True)
class DataSet:
    """Classes of a data set, and the values of its labels that are ignored."""

    url: str
    classes: tuple[str, ...]
    ignore: tuple[int, ...]


def find_data_set(labels: str, options: Mapping[str, Any]) -> DataSet | None:
    """Read the `dataset.json` next to the directory of the labels; None without one of nnU-Net.

    Args:
        labels: Place of the labels.
        options: Storage options.

    Returns:
        The data set.

    Raises:
        DataError: Its labels are regions, or not numbered from 0 on.
    """
    place, name = split_url(labels)
    if name not in _DIRECTORIES:
        return None
    url = join(place, FILE)
    try:
        tree = read_json(url, options)
    except DataError:
        return None
    names = tree.get("labels") if isinstance(tree, dict) else None
    if not isinstance(names, dict) or not {"channel_names", "modality"} & tree.keys():
        return None
    is_first_version = all(str(key).isdecimal() for key in names)
    values = {name: int(key) for key, name in names.items()} if is_first_version else names
    if regions := next((name for name, value in values.items() if not isinstance(value, int)), None):
        raise DataError(
            f"{url} has the region {regions}, which consists of several labels",
            "Regions overlap, but each pixel has one class",
            "Pass --classes with the names of the labels, and predictions of these",
        )
    ignore = values.pop(_IGNORE, None)
    classes = tuple(sorted(values, key=lambda name: int(values[name])))
    if [values[name] for name in classes] != list(range(len(classes))):
        raise DataError(
            f"{url} has labels of the values {', '.join(str(values[name]) for name in classes)}",
            "The classes of nnU-Net are numbered from 0 on",
            "Correct the file, or pass --classes and --remap",
        )
    return DataSet(url, classes, () if ignore is None else (int(ignore),))


def with_data_set(config: IngestConfig, options: Mapping[str, Any]) -> IngestConfig:
    """Complete a configuration that does not describe the labels by the `dataset.json` next to them."""
    given = (config.classes, config.preset, config.colors, config.remap, config.label_offset, config.background)
    if any(value is not None for value in given):
        return config
    if (found := find_data_set(config.labels, options)) is None:
        return config
    return config.model_copy(update={"classes": found.classes, "ignore": config.ignore or found.ignore})


def first_channel(keys: Sequence[str], labels: Collection[str]) -> dict[int, str] | None:
    """Return index and name of the first channel of each image, `NAME_0000`; None if the names are of another kind."""
    names = {key.rpartition("/")[2] for key in labels}
    files = [key.rpartition("/")[2] for key in keys]
    if not all(_CHANNEL.fullmatch(name) for name in files) or not names.isdisjoint(files):
        return None
    if names.isdisjoint(name[:-5] for name in files):
        return None
    return {i: key[:-5] for i, key in enumerate(keys) if key.endswith("_0000")}
