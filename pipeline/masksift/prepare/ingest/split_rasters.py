"""Cut rasters into windows, which become the images, and find the georeference of label files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from itertools import product
from typing import Any
from uuid import uuid4

from masksift.core.errors import DataError, UsageError
from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.prepare.ingest.config import IngestConfig
from masksift.prepare.ingest.discover import Inputs
from masksift.prepare.ingest.georaster import RasterFile, RasterWindow, check_alignment, read_raster_file
from masksift.prepare.ingest.labels import InputPair
from masksift.prepare.ingest.raster import RGB_EXTENSIONS, needs_rasterio

MAX_WHOLE_PIXELS = 1 << 28
"""Largest raster that is read as one image: 16,384 x 16,384 pixels."""
_TIFF = (".tif", ".tiff")


def split_rasters(inputs: Inputs, config: IngestConfig, options: Mapping[str, Any]) -> Inputs:
    """Replace the files that rasterio reads by their windows; one window per raster without ``config.window``.

    Args:
        inputs: Matched files.
        config: Configuration of the ingest.
        options: Storage options.

    Returns:
        The inputs, with one pair for each window.

    Raises:
        DataError: Rasters of one name do not cover the same pixels, or a raster is too large for one image.
        UsageError: Windows are requested of other files, or rasterio is not installed.
    """
    if not isinstance(inputs.pairs[0].label, str) or inputs.pairs[0].names_classes:
        if config.window is not None:
            raise UsageError(
                f"window is {config.window}, but labels are not rasters ({config.labels})",
                "Drop --window, or write the labels as GeoTIFF",
            )
        return inputs
    urls = dict.fromkeys(_raster_urls(inputs.pairs, config))
    if config.window is None and find_spec("rasterio") is None:
        return _without_rasterio(inputs, urls, options)
    session = uuid4().hex
    with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS) as pool:
        found = pool.map(lambda url: _read(url, config, options, session), urls)
        files = {url: file for url, file in zip(urls, found, strict=True) if file is not None}
    if not files:
        return inputs
    pairs = tuple(piece for pair in inputs.pairs for piece in _split(pair, files, config))
    prediction_format = inputs.prediction_format
    multiband = {file.bands > 1 for pair in inputs.pairs if (file := files.get(str(pair.predictions)))}
    if multiband == {True}:
        prediction_format = "planes"
    elif len(multiband) > 1:
        raise DataError(
            f"Some predictions in {config.predictions} have one band, others several",
            "Write a band for each class, or class numbers as one band",
        )
    return replace(inputs, pairs=pairs, prediction_format=prediction_format)


def _raster_urls(pairs: Iterable[InputPair], config: IngestConfig) -> Iterator[str]:
    """Yield the files that may be rasters. Raises UsageError for others if windows are requested."""
    for pair in pairs:
        for side, url in (("labels", pair.label), ("predictions", pair.predictions), ("images", pair.rgb)):
            if isinstance(url, str) and url.lower().endswith(_TIFF if config.window is None else RGB_EXTENSIONS):
                yield url
            elif url is not None and config.window is not None:
                name = url[0] if isinstance(url, tuple) else url if isinstance(url, str) else url.url
                raise UsageError(
                    f"window is {config.window}, but the {side} are not rasters ({name})",
                    "Drop --window, or write them as GeoTIFF with a band for each class",
                )


def _read(url: str, config: IngestConfig, options: Mapping[str, Any], session: str) -> RasterFile | None:
    """Read the header of a raster; None for a plain image, which is read without rasterio."""
    if config.window is None and not needs_rasterio(url, options):
        return None
    return read_raster_file(url, options, session)


def _without_rasterio(inputs: Inputs, urls: Iterable[str], options: Mapping[str, Any]) -> Inputs:
    """Say once that the georeference of the label files is not kept."""
    first = next((url for url in urls if needs_rasterio(url, options)), None)
    if first is None:
        return inputs
    note = f"{first} may have a georeference, which is not kept: run `pip install 'masksift[geo]'` to keep it"
    return replace(inputs, rules=(*inputs.rules, note))


def _split(pair: InputPair, files: Mapping[str, RasterFile], config: IngestConfig) -> Iterator[InputPair]:
    label, predictions, rgb = (files.get(str(side)) for side in (pair.label, pair.predictions, pair.rgb))
    for file in (label, predictions):
        if file is not None:
            _check_exact(file, config)
    present = [file for file in (label, predictions, rgb) if file is not None]
    if not present:
        yield pair
        return
    if config.resize is None:
        for file in present[1:]:
            check_alignment(present[0], file)
    nodata = None if label is None else label.nodata_integer
    if nodata in (config.remap or {}):
        nodata = None
    for row, column, cut, name in _windows(pair.name, present[0], config):

        def piece(file: RasterFile | None, plain: Any, cut: Callable[[RasterFile], RasterWindow] = cut) -> Any:
            return plain if file is None else cut(file)

        picture = piece(rgb, pair.rgb)
        if isinstance(picture, RasterWindow):
            _check_bands(picture.file, config)
            picture = replace(picture, bands=config.bands, values=config.picture_range)
        yield replace(
            pair,
            name=name,
            label=piece(label, pair.label),
            predictions=piece(predictions, pair.predictions),
            rgb=picture,
            nodata=nodata,
            place=(row, column, *cut(present[0]).size),
        )


def _windows(
    name: str, file: RasterFile, config: IngestConfig
) -> Iterator[tuple[int, int, Callable[[RasterFile], RasterWindow], str]]:
    """Yield row, column, a function that makes the window of a raster, and the id of each window."""
    if config.window is None:
        if file.height * file.width > MAX_WHOLE_PIXELS:
            raise UsageError(
                f"{file.url} is {file.height:,} x {file.width:,}, which is too large for one image",
                "Cut it into windows: --window 1024",
            )
        yield 0, 0, lambda other: RasterWindow(other, 0, 0, *other.size), name
        return
    height, width = config.window_size
    digits = len(str(max(file.size)))
    for row, column in product(range(0, file.height, height), range(0, file.width, width)):
        size = min(height, file.height - row), min(width, file.width - column)

        def cut(other: RasterFile, row: int = row, column: int = column, size: tuple[int, int] = size) -> RasterWindow:
            return RasterWindow(other, row, column, *size)

        yield row, column, cut, f"{name}/{row:0{digits}}_{column:0{digits}}"


def _check_exact(file: RasterFile, config: IngestConfig) -> None:
    """Raise DataError for labels or predictions whose values have changed or have two meanings."""
    if file.lossy and not config.allow_lossy:
        raise DataError(
            f"{file.url} is compressed as {file.lossy}, which changes values",
            "Class numbers near the borders of objects are not those that were written",
            "Use the original rasters, or pass --allow_lossy to read it anyway",
        )
    if file.min_is_white:
        raise DataError(
            f"{file.url} is a min-is-white TIFF (photometric interpretation 0)",
            "Some programs invert its values and others do not",
            "Write it as min-is-black, with 0 for the class 0",
        )


def _check_bands(file: RasterFile, config: IngestConfig) -> None:
    if config.bands and max(config.bands) > file.bands:
        raise UsageError(
            f"bands is {','.join(map(str, config.bands))}, but {file.url} has {file.bands}",
            f"Pass one or three numbers from 1 to {file.bands}",
        )
