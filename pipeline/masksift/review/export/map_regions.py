"""Polygons of regions in the coordinates of their map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from masksift.core.errors import DataError, UsageError
from masksift.review.export.export_writer import ExportWriter
from masksift.review.export.selection import ExportImage, ExportRegion
from masksift.storage.georeference import Transform, pixel_area, rasterio, window_transform
from masksift.storage.zarr.origin import OriginReader, open_origin

_MAX_OPEN_SOURCES = 16


@dataclass(frozen=True)
class MapRegion:
    """A region on a map.

    Attributes:
        geometry: Polygon or MultiPolygon of shapely along the edges of pixels, with exteriors counterclockwise.
        crs: Coordinate reference system of rasterio.
        properties: Image, classes, scores and area.
    """

    geometry: Any
    crs: Any
    properties: dict[str, Any]


def iter_map_regions(export: ExportWriter) -> Iterator[MapRegion]:
    """Yield the regions of images with a georeference, the worst image first; others become warnings.

    Args:
        export: The export.

    Yields:
        The regions.

    Raises:
        DataError: No image has a georeference.
        UsageError: rasterio or shapely is not installed.
    """
    module, origins = rasterio(), lru_cache(_MAX_OPEN_SOURCES)(lambda source: _open(export, source))
    systems = lru_cache(64)(module.CRS.from_wkt)
    found = False
    for image in export.iter_images():
        origin = origins(image.source)
        file = None if origin is None else origin.file(origin.file_number(image.index))
        if origin is None or file is None or file.transform is None or file.crs is None:
            export.warnings[f"source {image.source} has images without georeference, whose regions are left out"] = None
            continue
        found = True
        row, column, *_ = origin.place(image.index)
        transform, crs = window_transform(file.transform, row, column), systems(file.crs)
        for region in image.regions:
            properties = _properties(export, image, region)
            square_meters = _square_meters(transform, crs)
            properties["area_m2"] = None if square_meters is None else region.area * square_meters
            yield MapRegion(_geometry(module, region, image.size[0], transform), crs, properties)
    if not found:
        raise DataError(
            f"No image of {export.config.run} has a georeference",
            "Its regions have no place on a map",
            "Ingest GeoTIFF rasters with rasterio installed, or export to another format",
        )


def _open(export: ExportWriter, source: str) -> OriginReader | None:
    spec = export.run.tasks.sources[export.run.source_index[source]]
    return open_origin(spec.url, export.run.context.options)


def _properties(export: ExportWriter, image: ExportImage, region: ExportRegion) -> dict[str, Any]:
    names = ("image_id", "source", "index")
    return {
        **{name: image.columns[name] for name in names},
        **region.attributes(export.classes),
        "area_pixels": region.area,
    }


def _square_meters(transform: Transform, crs: Any) -> float | None:
    """Return the area of a pixel in square meters; None unless the system is projected."""
    if not crs.is_projected:
        return None
    return float(pixel_area(transform) * crs.linear_units_factor[1] ** 2)


def _geometry(module: Any, region: ExportRegion, height: int, transform: Transform) -> Any:
    """Return the outline of a region. Pixels that only touch at a corner belong to different polygons."""
    shapely = import_shapely()
    mask = region.mask(height).astype(np.uint8)
    box = module.Affine(*window_transform(transform, region.box[0], region.box[1]))
    parts = [
        shapely.geometry.shape(shape)
        for shape, _ in module.features.shapes(mask, mask=mask.astype(bool), connectivity=4, transform=box)
    ]
    return orient(parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts))


def orient(geometry: Any) -> Any:
    """Return a Polygon or MultiPolygon with exteriors counterclockwise and holes clockwise."""
    shapely = import_shapely()
    parts = [shapely.geometry.polygon.orient(part) for part in getattr(geometry, "geoms", [geometry])]
    return parts[0] if geometry.geom_type == "Polygon" else shapely.MultiPolygon(parts)


def import_shapely() -> Any:
    """Import shapely. Raises UsageError if it is not installed."""
    try:
        import shapely
    except ImportError as e:
        raise UsageError("shapely is not installed", "Run `pip install 'masksift[geo]'`") from e
    return shapely
