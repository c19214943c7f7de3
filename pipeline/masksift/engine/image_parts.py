"""Parts of the table of images: each holds a fixed number of neighboring images, whatever the blocks of the run are."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from masksift.engine.work_items import RunContext
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.parquet import MAX_OPEN_FILES, read_rows


def image_part_name(context: RunContext, number: int) -> str:
    """Return the name of a part of the table of images."""
    return f"images/part-{context.fingerprint[:12]}-{number:06d}.parquet"


def image_part_names(context: RunContext, images: int) -> list[str]:
    """Return the names of the parts of a table of so many images, in order."""
    return [image_part_name(context, number) for number in range(-(-images // context.image_part_rows))]


def read_image_rows(
    context: RunContext, directory: ObjectDirectory, positions: Sequence[int], columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Read rows of the table of images by their positions among all images of the run, in this order."""
    rows_by_part: dict[int, dict[int, None]] = {}
    for position in positions:
        number, row = divmod(position, context.image_part_rows)
        rows_by_part.setdefault(number, {})[row] = None

    def read(part: tuple[int, dict[int, None]]) -> list[tuple[int, dict[str, Any]]]:
        number, rows = part
        table = read_rows(directory, image_part_name(context, number), list(rows), columns)
        first = number * context.image_part_rows
        return [(first + row, values) for row, values in zip(rows, table.to_pylist(), strict=True)]

    with ThreadPoolExecutor(MAX_OPEN_FILES, thread_name_prefix="images") as pool:
        found = dict(pair for pairs in pool.map(read, rows_by_part.items()) for pair in pairs)
    return [found[position] for position in positions]
