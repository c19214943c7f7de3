"""Read GeoTIFF and other rasters of maps by rasterio, window by window, with their georeference."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.prepare.ingest.pieces import Piece
from masksift.prepare.ingest.raster import equal_channel
from masksift.storage.clients import open_filesystem
from masksift.storage.files import open_file
from masksift.storage.georeference import Transform, pixel_area, rasterio, window_transform
from masksift.storage.urls import local_path

_DRIVERS = {
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "GTiff"),
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\0\0\0\x0cjP  ": "JP2OpenJPEG",
    b"BM": "BMP",
    b"RIFF": "WEBP",
}
"""GDAL's driver by the first bytes of a file. By default GDAL tries all, some of which open further files."""
_BLOCK_CACHE_MB = 64
_MAX_OPEN = 6
_SAMPLES = 8
"""Windows along each side of a raster from which the range of a picture's values is estimated."""
_SAMPLE_SIDE = 64
_PERCENTILES = (2.0, 98.0)
_PICTURE_BANDS = 3
_open = threading.local()


@dataclass(frozen=True)
class RasterFile:
    """Header of a raster.

    Attributes:
        url: URL of the file.
        height: Rows.
        width: Columns.
        bands: Number of bands.
        dtype: Name of the dtype of all bands.
        nodata: Value without a meaning; None without one.
        crs: Coordinate reference system as WKT; None without one.
        transform: Affine transform; None without one.
        block: Rows and columns of a stored block.
        lossy: Name of a compression that changes values; None without one.
        min_is_white: 0 is white, so that some programs invert the values.
        session: Text that is new for each command, so that no open file of an earlier one is used again.
    """

    url: str
    height: int
    width: int
    bands: int
    dtype: str
    nodata: float | None
    crs: str | None
    transform: Transform | None
    block: tuple[int, int]
    lossy: str | None
    min_is_white: bool
    session: str = field(repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    @property
    def nodata_integer(self) -> int | None:
        """The nodata value if it is an integer of the dtype."""
        if self.nodata is None or not float(self.nodata).is_integer() or np.dtype(self.dtype).kind not in "iu":
            return None
        limits = np.iinfo(self.dtype)
        return int(self.nodata) if limits.min <= self.nodata <= limits.max else None


def read_raster_file(url: str, options: Mapping[str, Any], session: str) -> RasterFile:
    """Read the header of a raster. Raises DataError if GDAL cannot read it, UsageError without rasterio."""
    with _dataset(url, options) as source:
        if len(set(source.dtypes)) > 1:
            raise DataError(
                f"{url} has bands of the dtypes {', '.join(sorted(set(source.dtypes)))}", "Write all bands as one dtype"
            )
        tags = source.tags(ns="IMAGE_STRUCTURE")
        transform: Transform | None = tuple(source.transform)[:6]
        if source.crs is None and source.transform.is_identity:
            transform = None
        return RasterFile(
            url,
            source.height,
            source.width,
            source.count,
            source.dtypes[0],
            source.nodata,
            source.crs.to_wkt() if source.crs else None,
            transform,
            source.block_shapes[0],
            _lossy_compression(source.driver, tags),
            tags.get("MINISWHITE") == "YES",
            session,
        )


def _lossy_compression(driver: str, tags: Mapping[str, str]) -> str | None:
    name = tags.get("COMPRESSION", driver if driver in ("JPEG", "JP2OpenJPEG", "WEBP") else "")
    if tags.get("COMPRESSION_REVERSIBILITY", "").startswith("LOSSLESS"):
        return None
    if "LERC" in name:
        return None if float(tags.get("MAX_Z_ERROR", 0)) == 0 else name
    return name if any(word in name for word in ("JPEG", "JP2", "WEBP", "JXL")) else None


def _dataset(url: str, options: Mapping[str, Any]) -> Any:
    """Open a raster through the same storage as all other files."""
    module = rasterio()
    local = local_path(url)
    with open_file(url, options) as file:
        start = file.read(8)
    driver = next((name for magic, name in _DRIVERS.items() if start.startswith(magic)), None)
    if driver is None:
        raise DataError(f"{url} is not a TIFF, PNG, JPEG, JPEG 2000, BMP or WebP file", "Write it again, or remove it")
    try:
        with module.Env(GDAL_CACHEMAX=_BLOCK_CACHE_MB):
            if local is not None:
                return module.open(local, driver=driver)
            filesystem, path = open_filesystem(url, options)
            return module.open(path, driver=driver, opener=filesystem)
    except (module.errors.RasterioError, OSError) as e:
        raise DataError(
            f"{url} cannot be read as a raster ({str(e).rstrip('.')})",
            "Write it again, or remove it from the directory",
        ) from e


def _cached_dataset(file: RasterFile, options: Mapping[str, Any]) -> Any:
    """Open a raster, or return it if this thread has opened it for an earlier window."""
    if getattr(_open, "session", None) != file.session:
        for source in getattr(_open, "sources", {}).values():
            source.close()
        _open.session, _open.sources = file.session, OrderedDict[str, Any]()
    sources = _open.sources
    if file.url not in sources:
        if len(sources) >= _MAX_OPEN:
            sources.popitem(last=False)[1].close()
        sources[file.url] = _dataset(file.url, options)
    sources.move_to_end(file.url)
    return sources[file.url]


@dataclass(frozen=True)
class RasterWindow(Piece):
    """Window of a raster.

    Attributes:
        file: The raster.
        row: First row.
        column: First column.
        height: Number of rows.
        width: Number of columns.
        bands: Bands of a picture, counted from 1; () for the first three.
        values: Stored values of a picture that become black and white; () to estimate them.
    """

    file: RasterFile
    row: int
    column: int
    height: int
    width: int
    bands: tuple[int, ...] = ()
    values: tuple[float, ...] = ()

    def __str__(self) -> str:
        if (self.height, self.width) == self.file.size:
            return self.url
        return f"{self.url} (the window at row {self.row}, column {self.column})"

    @property
    def url(self) -> str:
        """URL of the raster."""
        return self.file.url

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (bands, H, W), or (H, W) of one band."""
        size = (self.height, self.width)
        return size if self.file.bands == 1 else (self.file.bands, *size)

    @property
    def dtype(self) -> str:
        """Name of the dtype."""
        return self.file.dtype

    @property
    def unit_bytes(self) -> int:
        """Bytes of a row of stored blocks, which a window may need whole."""
        rows, columns = self.file.block
        across = -(-min(self.width + columns, self.file.width) // columns) * columns
        return rows * across * self.file.bands * np.dtype(self.file.dtype).itemsize

    def read_labels(self, options: Mapping[str, Any], *, gray: bool, use_palette: bool) -> NDArray[Any]:
        """Read integers (H, W) or colors (H, W, 3)."""
        source = _cached_dataset(self.file, options)
        if np.dtype(self.dtype).kind not in "iu":
            raise DataError(
                f"{self} is stored as {self.dtype}, but labels are integers", "Write class numbers as uint8 or uint16"
            )
        if use_palette and (palette := _palette(source)) is not None:
            return np.asarray(palette[self._read(source, 1)])
        bands = self.file.bands if self.file.bands in (3, 4) else 1
        if bands == 1 and self.file.bands > 2:
            raise DataError(
                f"{self.url} has {self.file.bands} bands, but labels are one band of class numbers, or colors",
                "Write the labels as one band",
            )
        if bands == 1:
            return self._read(source, 1)
        values = np.moveaxis(self._read(source, list(range(1, bands + 1))), 0, -1)
        values = equal_channel(values) if gray else values
        return values if values.ndim == 2 else values[..., :3]

    def read_predictions(self, options: Mapping[str, Any]) -> NDArray[Any]:
        """Read all bands (K, H, W), or (H, W) of one band."""
        values = self._read(_cached_dataset(self.file, options), None)
        return values[0] if self.file.bands == 1 else values

    def read_rgb(self, options: Mapping[str, Any]) -> NDArray[np.uint8]:
        """Read three bands as a picture. Values other than uint8 are scaled; pixels without data become black."""
        source = _cached_dataset(self.file, options)
        if not self.bands and self.file.bands == 1 and (palette := _palette(source)) is not None:
            return np.asarray(palette[self._read(source, 1)])
        bands = self.bands or (range(1, _PICTURE_BANDS + 1) if self.file.bands >= _PICTURE_BANDS else (1,))
        values = self._read(source, list(bands))
        if self.dtype != "uint8" or self.values:
            low, high = self.values or _value_range(source, bands)
            empty = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
            empty |= False if self.file.nodata is None else values == self.file.nodata
            scaled = (values.astype(np.float64) - low) * 255 / max(high - low, 1e-12)
            values = np.where(empty, 0, np.clip(np.rint(scaled), 0, 255)).astype(np.uint8)
        return np.ascontiguousarray(np.moveaxis(np.repeat(values, _PICTURE_BANDS // len(values), axis=0), 0, -1))

    def _read(self, source: Any, bands: Any) -> NDArray[Any]:
        module = rasterio()
        try:
            with module.Env(GDAL_CACHEMAX=_BLOCK_CACHE_MB):
                window = module.windows.Window(self.column, self.row, self.width, self.height)
                values: NDArray[Any] = source.read(bands, window=window)
                return values
        except (module.errors.RasterioError, OSError) as e:
            raise DataError(f"{self} cannot be read ({str(e).rstrip('.')})", "Copy the file again") from e


def _palette(source: Any) -> NDArray[np.uint8] | None:
    """Return the colors (256, 3) of a raster with a color map; None without one."""
    if source.count > 1 or source.dtypes[0] != "uint8" or source.colorinterp[0].name != "palette":
        return None
    colors = np.zeros((256, 3), np.uint8)
    for value, color in source.colormap(1).items():
        colors[value] = color[:3]
    return colors


def _value_range(source: Any, bands: Any) -> tuple[float, float]:
    """Estimate percentiles of the values of a raster from windows in a regular grid."""
    module, found = rasterio(), []
    rows, columns = (_sample_starts(extent) for extent in (source.height, source.width))
    for row in rows:
        for column in columns:
            height, width = min(_SAMPLE_SIDE, source.height - row), min(_SAMPLE_SIDE, source.width - column)
            values = source.read(list(bands), window=module.windows.Window(column, row, width, height)).reshape(-1)
            values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
            found.append(values if source.nodata is None else values[values != source.nodata])
    values = np.concatenate(found)
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, _PERCENTILES)
    return float(low), float(high)


def _sample_starts(extent: int) -> list[int]:
    last = max(0, extent - _SAMPLE_SIDE)
    return sorted({last * i // (_SAMPLES - 1) for i in range(_SAMPLES)})


def check_alignment(one: RasterFile, other: RasterFile, tolerance: float = 0.1) -> None:
    """Check that two rasters cover the same pixels of a map.

    Args:
        one: A raster.
        other: Another one.
        tolerance: Largest distance of their corners, in pixels.

    Raises:
        DataError: They do not.
    """
    if one.size != other.size:
        raise DataError(
            f"{one.url} is {one.height} x {one.width}, {other.url} is {other.height} x {other.width}",
            "Warp one of them onto the grid of the other",
        )
    module = rasterio()
    if one.crs and other.crs and module.CRS.from_wkt(one.crs) != module.CRS.from_wkt(other.crs):
        names = [module.CRS.from_wkt(file.crs).to_string()[:60] for file in (one, other)]
        raise DataError(
            f"{one.url} has the coordinate reference system {names[0]}, {other.url} has {names[1]}",
            "Warp one of them onto the grid of the other",
        )
    if one.transform is None or other.transform is None:
        return
    (a, b, _, d, e, _), pixel = one.transform, math.sqrt(pixel_area(one.transform))
    corners = [(0, 0), (one.height, 0), (0, one.width), (one.height, one.width)]
    places = [[window_transform(file.transform, *corner) for file in (one, other)] for corner in corners]  # type: ignore[arg-type]
    distance = max(math.hypot(left[2] - right[2], left[5] - right[5]) for left, right in places)
    pixel = pixel or math.hypot(a, d) or math.hypot(b, e) or 1.0
    if distance > tolerance * pixel:
        raise DataError(
            f"{one.url} and {other.url} differ by up to {distance / pixel:.2f} pixels at their corners",
            "Warp one of them onto the grid of the other",
        )
