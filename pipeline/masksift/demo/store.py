"""The demo's data set on local disk: one Zarr v3 group, written beside its final name and renamed when it is whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from masksift.core.errors import UsageError

IMAGES_A_CHUNK = 4
KEY = "demo"
"""Group attribute that holds the parameters the data set was made with: the mark of a finished demo."""


def parameters_of(source: Path) -> Mapping[str, Any] | None:
    """The parameters of the finished demo at `source`; None where nothing is.

    Raises UsageError when something else lies there: it is not ours to replace.
    """
    if not source.exists():
        return None
    try:
        attributes = zarr.open_group(source, mode="r").attrs.asdict()
    except (OSError, ValueError, KeyError) as e:
        raise _not_ours(source) from e
    parameters = attributes.get(KEY)
    if not isinstance(parameters, dict):
        raise _not_ours(source)
    return parameters


def _not_ours(source: Path) -> UsageError:
    return UsageError(
        f"{source} exists and was not written by the demo",
        "writing there would replace somebody's data, so nothing was written",
        "Give another folder, or move that one away",
    )


def image_ids_of(source: Path) -> tuple[str, ...]:
    """The ids of a finished demo's images, in order."""
    return tuple(str(value) for value in np.asarray(zarr.open_array(source / "image_id", mode="r")[:]).tolist())


@contextmanager
def in_place_of(source: Path, beside: Sequence[Path] = ()) -> Iterator[Path]:
    """A new folder to write to, which becomes `source` when the block ends well, and vanishes when it does not.

    Files written in it under the names of `beside` are moved to those places first, so that a `source` that stands
    always has them. An older demo at `source` goes away before.
    """
    source.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{source.name}.tmp-", dir=source.parent))
    try:
        yield folder
        if source.exists():
            # Renamed first: at no moment does a half deleted group stand under the final name.
            outgoing = folder / "replaced"
            source.rename(outgoing)
            shutil.rmtree(outgoing)
        for path in beside:
            os.replace(folder / path.name, path)
        folder.rename(source)
        source.chmod(0o755)  # mkdtemp makes folders that only their owner may read
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def write_source(
    folder: Path,
    *,
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    predictions: Iterable[NDArray[np.uint8]],
    image_ids: Sequence[str],
    class_names: Sequence[str],
    ignore: int,
    parameters: Mapping[str, Any],
) -> None:
    """Write one source group: `images` (N, H, W, 3), `labels` (N, H, W), `predictions` (N, K, H, W), `image_id` (N,).

    All uint8, p = value / 255; the ids are strings. `predictions` come one image (K, H, W) at a time and are written a
    chunk of images at a time, so that they need not fit in memory. The parameters are written last.
    """
    count, height, width = labels.shape
    group = zarr.create_group(folder, zarr_format=3, overwrite=True)
    size = min(IMAGES_A_CHUNK, count)

    def array(name: str, shape: tuple[int, ...], dims: Sequence[str], fill: int, **attributes: Any) -> zarr.Array[Any]:
        return group.create_array(
            name,
            shape=shape,
            dtype="uint8",
            chunks=(size, *shape[1:]),
            compressors=ZstdCodec(level=3),
            fill_value=fill,
            dimension_names=dims,
            attributes=attributes,
        )

    array("images", (count, height, width, 3), ("image", "y", "x", "channel"), 0)[:] = images
    array("labels", (count, height, width), ("image", "y", "x"), ignore)[:] = labels
    planes = array(
        "predictions",
        (count, len(class_names), height, width),
        ("image", "class", "y", "x"),
        0,
        kind="probabilities",
        scale=1 / 255,
    )
    buffer: list[NDArray[np.uint8]] = []
    done = 0
    for prediction in predictions:
        buffer.append(prediction)
        if len(buffer) == size or done + len(buffer) == count:
            planes[done : done + len(buffer)] = np.stack(buffer)
            done += len(buffer)
            buffer.clear()
    ids = group.create_array(
        "image_id",
        shape=(count,),
        dtype="string",
        chunks=(count,),
        compressors=ZstdCodec(level=3),
        dimension_names=("image",),
    )
    ids[:] = np.asarray(list(image_ids), dtype=np.dtypes.StringDType())
    group.attrs.update({"class_names": list(class_names), "ignore": [ignore], KEY: dict(parameters)})
