"""Read slices of volumes: NIfTI files, and nnU-Net's probabilities (K, z, y, x) in `.npz` files."""

from __future__ import annotations

import gzip
import io
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, UsageError
from masksift.prepare.ingest.array_formats import read_array, read_header
from masksift.prepare.ingest.pieces import Piece
from masksift.storage.files import open_file

VOLUME_EXTENSIONS = (".nii", ".nii.gz")
_MAX_OPEN = 3
_PERCENTILES = (0.5, 99.5)
_NIFTI2_HEADER_BYTES = 540
_open = threading.local()


def is_volume(name: str) -> bool:
    """Return whether a file is named like NIfTI."""
    return name.lower().endswith(VOLUME_EXTENSIONS)


@dataclass(frozen=True)
class VolumeFile:
    """Header of a volume.

    Attributes:
        url: URL of the file.
        shape: Shape (x, y, z), or (x, y, z, K) of predictions.
        dtype: Name of the dtype of the values that are read.
        affine: The 16 numbers of the affine, row by row; () in nnU-Net's files, which have none.
        session: Text that is new for each command, so that no volume in memory is used again by another one.
    """

    url: str
    shape: tuple[int, ...]
    dtype: str
    affine: tuple[float, ...]
    session: str = field(repr=False)

    @property
    def size(self) -> tuple[int, ...]:
        """Extent in x, y and z."""
        return self.shape[:3]


def nibabel() -> Any:
    """Import nibabel. Raises UsageError if it is not installed."""
    try:
        import nibabel as module
    except ImportError as e:
        raise UsageError("nibabel is not installed", "Run `pip install 'masksift[volumes]'`") from e
    return module


def read_volume_file(url: str, options: Mapping[str, Any], session: str) -> VolumeFile:
    """Read the header of a volume. Raises DataError unless it has three axes, or four of predictions."""
    if not is_volume(url):
        found = read_header(url, options)
        if len(found.shape) != 4:
            raise _wrong_axes(url, found.shape)
        classes, depth, height, width = found.shape
        return VolumeFile(url, (width, height, depth, classes), found.dtype.name, (), session)
    image = _load(url, options, header_only=True)
    header = image if not hasattr(image, "header") else image.header
    shape = tuple(int(extent) for extent in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (3, 4) or 0 in shape:
        raise _wrong_axes(url, shape)
    slope, intercept = header.get_slope_inter()
    scaled = (slope, intercept) not in ((None, None), (1.0, 0.0))
    dtype = "float64" if scaled else header.get_data_dtype().newbyteorder("=").name
    affine = tuple(float(value) for value in np.asarray(header.get_best_affine()).reshape(-1))
    return VolumeFile(url, shape, dtype, affine, session)


def _wrong_axes(url: str, shape: tuple[int, ...]) -> DataError:
    return DataError(
        f"{url} has the shape {shape}, but a volume has the axes x, y, z, and predictions classes as the last one",
        "Write one volume per file",
    )


def _load(url: str, options: Mapping[str, Any], *, header_only: bool) -> Any:
    """Read a header, or a whole image into memory. Raises DataError if it is not NIfTI."""
    module = nibabel()
    try:
        with open_file(url, options) as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream = cast(Any, gzip.GzipFile(fileobj=file) if packed else file)
            start = stream.read(_NIFTI2_HEADER_BYTES)
            lengths = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")}
            kind = module.Nifti2Image if _NIFTI2_HEADER_BYTES in lengths else module.Nifti1Image
            if header_only:
                return kind.header_class.from_fileobj(io.BytesIO(start))
            stream.seek(0)
            image = kind.from_stream(stream)
            return np.asanyarray(image.dataobj)
    except (
        OSError,
        EOFError,
        ValueError,
        module.spatialimages.HeaderDataError,
        module.filebasedimages.ImageFileError,
    ) as e:
        raise DataError(
            f"{url} cannot be read as NIfTI ({str(e).rstrip('.')})", "Write it again, or remove it from the directory"
        ) from e


def _values(file: VolumeFile, options: Mapping[str, Any]) -> NDArray[Any]:
    """Read all values, (x, y, z) or (x, y, z, K), or return them if this thread has read them for another slice."""
    if getattr(_open, "session", None) != file.session:
        _open.session, _open.volumes = file.session, OrderedDict[str, NDArray[Any]]()
    volumes = _open.volumes
    if file.url not in volumes:
        if len(volumes) >= _MAX_OPEN:
            volumes.popitem(last=False)
        if is_volume(file.url):
            values = _load(file.url, options, header_only=False).reshape(file.shape)
        else:
            values = read_array(file.url, options).transpose(3, 2, 1, 0)
        volumes[file.url] = values.astype(values.dtype.newbyteorder("="), copy=False)
    volumes.move_to_end(file.url)
    return cast(NDArray[Any], volumes[file.url])


@dataclass(frozen=True)
class VolumeSlice(Piece):
    """Slice of a volume: of the two other axes, the later one gives the rows and the earlier one the columns.

    Attributes:
        file: The volume.
        axis: Axis that the slice is perpendicular to: 0 for x, 1 for y, 2 for z.
        index: Position along the axis.
        values: Stored values of a picture that become black and white; () for percentiles of the volume.
    """

    file: VolumeFile
    axis: int
    index: int
    values: tuple[float, ...] = ()

    def __str__(self) -> str:
        return f"{self.url} (slice {self.index} of axis {self.axis})"

    @property
    def url(self) -> str:
        """URL of the volume."""
        return self.file.url

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (K, H, W), or (H, W) of one plane."""
        columns, rows = (extent for axis, extent in enumerate(self.file.size) if axis != self.axis)
        return (*self.file.shape[3:], rows, columns)

    @property
    def dtype(self) -> str:
        """Name of the dtype."""
        return self.file.dtype

    @property
    def unit_bytes(self) -> int:
        """Bytes of the whole volume, twice while it is decoded."""
        return 2 * int(np.prod(self.file.shape)) * np.dtype(self.file.dtype).itemsize

    def read_labels(self, options: Mapping[str, Any], *, gray: bool, use_palette: bool) -> NDArray[Any]:
        """Read integers (H, W), which may be stored as floats. Raises DataError for other numbers."""
        plane = self._read(options)
        if plane.ndim == 3:
            raise DataError(f"{self.url} has the shape {self.file.shape}, but labels are one volume", "Use (x, y, z)")
        if plane.dtype.kind == "f":
            integers = np.rint(plane).astype(np.int64)
            if (integers != plane).any():
                raise DataError(f"{self} holds {plane[integers != plane][0]:g}, which is no class", "Write integers")
            plane = integers
        return plane

    def read_predictions(self, options: Mapping[str, Any]) -> NDArray[Any]:
        """Read predictions of `shape`."""
        return self._read(options)

    def read_rgb(self, options: Mapping[str, Any]) -> NDArray[np.uint8]:
        """Read a gray picture (H, W, 3), of the first channel."""
        volume = _values(self.file, options)
        volume = volume if volume.ndim == 3 else volume[..., 0]
        plane = np.nan_to_num(np.take(volume, self.index, self.axis).T.astype(np.float64))
        low, high = self.values or np.percentile(np.nan_to_num(volume), _PERCENTILES).tolist()
        gray = np.clip(np.rint((plane - low) * 255 / max(high - low, 1e-12)), 0, 255).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)

    def _read(self, options: Mapping[str, Any]) -> NDArray[Any]:
        return np.ascontiguousarray(np.take(_values(self.file, options), self.index, self.axis).T)
