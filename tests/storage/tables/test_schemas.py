"""Schemas of the result tables."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from masksift.scoring.methods import score_names
from masksift.storage.tables.schemas import (
    CLASS_PAIRS,
    CLASS_QUALITY,
    THRESHOLDS,
    images_schema,
    ranking_schema,
    regions_schema,
    scored_images_schema,
    scored_regions_schema,
    truth_schema,
    unranked_regions_schema,
)
from support.cli import run_cli
from support.sources import make_data, write_source

NAMES = ["road", "sky", 'a "quoted", thing', "Straße"]


def columns(schema: pa.Schema) -> dict[str, str]:
    """Return the type of every column, with a question mark if it is nullable."""
    return {field.name: f"{field.type}{'?' if field.nullable else ''}" for field in schema}


def test_every_table_has_the_documented_schema() -> None:
    assert columns(THRESHOLDS) == {
        "class_id": "int32",
        "class_name": "string",
        "pixels": "int64",
        "predicted_pixels": "int64",
        "sum": "double",
        "confident_threshold": "double?",
        "decision_threshold": "double?",
        "ignored_share": "double",
        "agreement_center": "double?",
        "agreement_spread": "double?",
        "label_agreement_center": "double?",
        "label_agreement_spread": "double?",
    }
    assert columns(CLASS_PAIRS) == {
        "given": "int32",
        "suggested": "int32",
        "given_name": "string",
        "suggested_name": "string",
        "pixels": "int64",
        "images": "int64",
        "evidence": "double",
    }
    assert columns(CLASS_QUALITY) == {
        "class_id": "int32",
        "class_name": "string",
        "pixels": "int64",
        "flagged": "int64",
        "quality": "double?",
    }
    transform = {"suspected_transform": "string?", "transform_gain": "double?"}
    worst_region = {
        "region_y0": "int32?",
        "region_x0": "int32?",
        "region_y1": "int32?",
        "region_x1": "int32?",
        "region_priority": "double?",
        "region_evidence": "double?",
    }
    assert columns(images_schema(["ccp", "clc"])) == {
        "image_id": "string",
        "source": "string",
        "index": "int64",
        "height": "int32",
        "width": "int32",
        "valid_pixels": "int64?",
        "status": "string",
        "reason": "string?",
        "ccp": "double?",
        "clc": "double?",
        "flagged_pixels": "int64?",
        "worst_given": "int32?",
        "worst_suggested": "int32?",
        "worst_pixels": "int64?",
        "worst_class": "int32?",
        "worst_class_z": "double?",
        **transform,
        **worst_region,
    }
    assert columns(ranking_schema(["ccp"])) == {
        "rank": "int64",
        "percentile": "double",
        "image_id": "string",
        "source": "string",
        "index": "int64",
        "ranked_by": "string",
        "score": "double",
        "ccp": "double?",
        "worst_class": "int32?",
        "worst_class_z": "double?",
        **transform,
        **worst_region,
    }
    assert columns(regions_schema(["site"])) == {
        "rank": "int64",
        "image_id": "string",
        "source": "string",
        "index": "int64",
        "site": "string?",
        "kind": "string",
        "given": "int32?",
        "suggested": "int32",
        "given_name": "string?",
        "suggested_name": "string",
        "area": "int64",
        "y0": "int32",
        "x0": "int32",
        "y1": "int32",
        "x1": "int32",
        "centroid_y": "double",
        "centroid_x": "double",
        "priority": "double",
        "class_priority": "double",
        "evidence": "double",
        "usual_evidence": "double",
        "mean_self_confidence": "double?",
        "mean_predicted_confidence": "double",
        "given_z": "double?",
        "suggested_z": "double",
        "given_pixels": "int64?",
        "suggested_pixels": "int64",
        "height": "int32",
        "width": "int32",
        "rle": "list<item: int32>",
    }
    assert unranked_regions_schema(["site"]).names == regions_schema(["site"]).names[1:]
    before = {*unranked_regions_schema(["site"]).names} - {"usual_evidence"} | {"pair_evidence"}
    assert {*scored_regions_schema(["site"]).names} == before
    assert scored_images_schema(["ccp"]).names == [*images_schema(["ccp"]).names[:-8], "grids"]
    assert columns(truth_schema(["site"])) == {
        "image_id": "string",
        "source": "string",
        "index": "int64",
        "site": "string?",
        "kind": "string",
        "classes": "list<item: int32>",
        "given": "int32?",
        "true": "int32?",
        "changed_pixels": "int64",
        "changed_share": "double",
        "y0": "int32",
        "x0": "int32",
        "y1": "int32",
        "x1": "int32",
    }


def test_tables_of_a_run_have_their_schemas_and_the_class_names(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(), attributes={"class_names": NAMES, "ignore": [255]})
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 0
    expected = {
        "thresholds.parquet": THRESHOLDS,
        "class_pairs.parquet": CLASS_PAIRS,
        "class_quality.parquet": CLASS_QUALITY,
        "images/*.parquet": images_schema(list(score_names())),
        "ranking/*.parquet": ranking_schema(list(score_names())),
        "regions/*.parquet": regions_schema(),
    }
    for pattern, schema in expected.items():
        (file,) = (tmp_path / "out").glob(pattern)
        stored = pq.read_schema(file)
        assert stored.remove_metadata() == schema
        assert json.loads(stored.metadata[b"masksift"]) == {"class_names": NAMES}
    assert [len(pq.read_table(tmp_path / "out" / name)) for name in ("images", "ranking")] == [8, 8]
