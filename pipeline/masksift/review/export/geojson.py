"""GeoJSON (RFC 7946): one feature per region, in longitude and latitude of WGS 84, the worst image first."""

from __future__ import annotations

from masksift.review.export.export_writer import ExportWriter, stream_json_list
from masksift.review.export.map_regions import import_shapely, iter_map_regions, orient
from masksift.storage.georeference import rasterio

_DECIMALS = 9
"""Decimals of a degree: a tenth of a millimeter."""


def write(export: ExportWriter) -> None:
    """Write regions.geojson."""
    transform_geom, shapely = rasterio().warp.transform_geom, import_shapely()
    before, after = b'{"type": "FeatureCollection", "features": ', b"}"
    with stream_json_list(export.directory, "regions.geojson", before, after) as add:
        for region in iter_map_regions(export):
            shape = shapely.geometry.mapping(region.geometry)
            shape = transform_geom(region.crs, "EPSG:4326", shape, antimeridian_cutting=True, precision=_DECIMALS)
            geometry = shapely.geometry.mapping(orient(shapely.geometry.shape(shape)))
            rank = region.properties["rank"]
            add({"type": "Feature", "id": rank, "geometry": geometry, "properties": region.properties})
