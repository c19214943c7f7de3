"""GeoParquet 1.1: one file per coordinate reference system, with polygons in its units, by rank."""

from __future__ import annotations

import json
import re
from typing import Any

from masksift.review.export.export_writer import ExportWriter
from masksift.review.export.map_regions import MapRegion, import_shapely, iter_map_regions
from masksift.storage.tables.geoparquet import write_geoparquet


def write(export: ExportWriter) -> None:
    """Write regions/<system>.parquet."""
    shapely = import_shapely()
    files: dict[str, list[MapRegion]] = {}
    for region in iter_map_regions(export):
        files.setdefault(region.crs.to_wkt(), []).append(region)
    taken: set[str] = set()
    for regions in files.values():
        regions.sort(key=lambda region: int(region.properties["rank"]))
        crs = regions[0].crs
        name = plain = re.sub(r"\W+", "_", ":".join(crs.to_authority() or ("system",)))
        while name in taken:
            name = f"{plain}_{len(taken) + 1}"
        taken.add(name)
        geometries = [region.geometry for region in regions]
        column: dict[str, Any] = {
            "geometry_types": sorted({geometry.geom_type for geometry in geometries}),
            "crs": json.loads(json.dumps(crs.to_dict(projjson=True))),
            "bbox": shapely.total_bounds(geometries).tolist(),
        }
        rows = [region.properties for region in regions]
        write_geoparquet(export.directory, f"regions/{name}.parquet", rows, shapely.to_wkb(geometries), column)
