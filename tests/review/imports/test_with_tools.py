"""Exports that the libraries of the tools read, edit and write again (`make readers`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from review.export.helpers import CLASSES, SCRIPTS, ExportedRun, export, run_tool
from review.imports.helpers import changed_pixels, import_file, paint

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools


@pytest.mark.parametrize(
    ("form", "tool", "written"),
    [
        ("datumaro", "edit_datumaro", ""),
        ("coco", "edit_datumaro", "annotations/instances_default.json"),  # as polygons
        ("fiftyone", "edit_fiftyone", ""),
    ],
)
def test_region_relabeled_with_a_tool_changes_its_pixels_and_no_others(
    form: str, tool: str, written: str, run: ExportedRun, tmp_path: Path
) -> None:
    assert export(form, run.out, tmp_path / "export") == 0
    run_tool(SCRIPTS / f"{tool}.py", tmp_path / "export", tmp_path / "edited", form, 1, CLASSES[3])
    record = import_file(form, tmp_path / "edited" / written, run, tmp_path / "fixed")
    assert changed_pixels(run, tmp_path / "fixed") == paint(run, (("s", 2), run.regions[1].mask, 3))
    assert (record["import"]["edited_shapes"], record["import"]["unchanged_regions"]) == (1, len(run.regions) - 1)
