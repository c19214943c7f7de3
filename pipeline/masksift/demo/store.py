"""Demo data set on local disk: a Zarr v3 group, written to a temporary directory and renamed when complete."""

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

IMAGES_PER_CHUNK = 4
PARAMETERS_ATTRIBUTE = "demo"
"""Group attribute with the parameters of the data set, written last."""


def read_parameters(source: Path) -> Mapping[str, Any] | None:
    """Read the parameters of a complete demo, None if nothing exists there; refuse data that are no demo."""
    if not source.exists():
        return None
    try:
        attributes = zarr.open_group(source, mode="r").attrs.asdict()
    except (OSError, ValueError, KeyError) as e:
        raise _foreign_data_error(source) from e
    parameters = attributes.get(PARAMETERS_ATTRIBUTE)
    if not isinstance(parameters, dict):
        raise _foreign_data_error(source)
    return parameters


def _foreign_data_error(source: Path) -> UsageError:
    return UsageError(
        f"{source} exists and was not written by the demo",
        "Use another folder, or move that one away",
    )


def read_image_ids(source: Path) -> tuple[str, ...]:
    """Read the image ids of a complete demo, in order."""
    return tuple(str(value) for value in np.asarray(zarr.open_array(source / "image_id", mode="r")[:]).tolist())


@contextmanager
def replace_when_complete(source: Path, companions: Sequence[Path] = ()) -> Iterator[Path]:
    """Write to a temporary directory that replaces `source` on success and is removed on failure.

    Args:
        source: Path of the group.
        companions: Paths of files in the temporary directory that are moved there first, so that an existing `source`
            always has them.

    Yields:
        The temporary directory.
    """
    source.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{source.name}.tmp-", dir=source.parent))
    try:
        yield folder
        if source.exists():
            # renamed first: the final name never holds a partly deleted group
            replaced = folder / "replaced"
            source.rename(replaced)
            shutil.rmtree(replaced)
        for path in companions:
            os.replace(folder / path.name, path)
        folder.rename(source)
        source.chmod(0o755)  # mkdtemp creates directories that only their owner can read
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
    """Write one source group.

    Args:
        folder: Path of the group.
        images: RGB images (N, H, W, 3).
        labels: Labels (N, H, W).
        predictions: Probabilities (K, H, W) of each image, p = value / 255, written a chunk of images at a time.
        image_ids: Ids of the images.
        class_names: Names of the K classes.
        ignore: Label value of ignored pixels.
        parameters: Parameters of the data set.
    """
    count, height, width = labels.shape
    group = zarr.create_group(folder, zarr_format=3, overwrite=True)
    size = min(IMAGES_PER_CHUNK, count)

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
    group.attrs.update({"class_names": list(class_names), "ignore": [ignore], PARAMETERS_ATTRIBUTE: dict(parameters)})
