"""Find the images in tables: data sets that Hugging Face's `datasets` saved as Parquet or Arrow files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from masksift.core.errors import DataError
from masksift.storage.files import Files, find_files, read_json
from masksift.storage.table_images import ENDINGS, image_cells, is_cell, row_group_bytes

_NAMES_FILE = "id2label.json"
_MEASURED_TABLES = 64
"""Tables of one data set have row groups of similar size."""


def find_cells(place: str, options: Mapping[str, Any], roles: Sequence[str]) -> tuple[Files, tuple[str, ...]] | None:
    """Find the cells of one image column in all tables of a directory or glob, or in one table.

    Args:
        place: URL.
        options: Storage options.
        roles: Usual names of the column.

    Returns:
        The cells as files, and the id of each. None without a table that has image columns.

    Raises:
        DataError: A table is damaged, or no image column has a usual name.
    """
    try:
        files = find_files(place, options, ENDINGS)
    except DataError:  # files of another kind
        return None
    names, ids = list[str](), list[str]()
    for name in files.names:
        if name.rpartition("/")[2].startswith("cache-"):  # intermediate results of `datasets`
            continue
        if (found := image_cells(files.url(name), options, roles)) is None:
            continue
        column, row_ids = found
        names += [f"{name}#{column}/{row}" for row in range(len(row_ids))]
        ids += row_ids
    if not names:
        return None
    if len(set(ids)) < len(ids):  # several splits
        ids = [f"{name.partition('#')[0].rpartition('.')[0]}/{one}" for name, one in zip(names, ids, strict=True)]
    return Files(files.place, files.root, tuple(names)), tuple(ids)


def table_memory(urls: Sequence[str], options: Mapping[str, Any]) -> int:
    """Return the bytes of the tables that a worker keeps to read cells."""
    tables = sorted({url.rpartition("#")[0] for url in urls if is_cell(url)})
    return max((row_group_bytes(table, options) for table in tables[:_MEASURED_TABLES]), default=0)


def read_class_names(root: str, options: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Read the class names in `id2label.json` in or above a directory; None without names of the classes from 0 on."""
    for place in (root, root.rpartition("/")[0]):
        try:
            tree = read_json(f"{place}/{_NAMES_FILE}", options)
        except DataError:
            continue
        if isinstance(tree, dict) and {*tree} == {*map(str, range(len(tree)))}:
            return tuple(str(tree[str(k)]) for k in range(len(tree)))
    return None
