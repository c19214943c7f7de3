"""Plans of the report: objects, reads and memory."""

from __future__ import annotations

import tracemalloc
from importlib import resources
from pathlib import Path

import pytest
import zarr

from masksift.config.sections import StorageSection
from masksift.core.errors import PlanRefused
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.engine.completed_run import open_completed_run
from masksift.engine.planning import report_plan
from masksift.engine.planning.layout import Settings
from masksift.engine.planning.memory import BASE_MEMORY_BYTES
from masksift.engine.planning.plan import make_plan
from masksift.engine.planning.report_plan import ReportPlan, drawing_memory
from masksift.review.report.sheets import ImageRef, make_sheets
from masksift.review.report.tasks import RenderContext, RenderTask, render
from masksift.storage.sources.images_array import open_images_array
from review.report.report_files import make_rgb
from support.cli import run_cli
from support.errors import raises
from support.sources import make_data, write_array, write_source

IMAGE_CHUNK = (1, 512, 1024)


def make_spec(images: int = 1000, height: int = 512, width: int = 1024) -> SourceSpec:
    predictions = ArraySpec("p", (images, 19, height, width), (1, 19, height, width), "uint8", 1, (0, 1, 2, 3))
    labels = ArraySpec("l", (images, height, width), (1, height, width), "uint8", 1, (0, 1, 2))
    names = tuple(f"class {k}" for k in range(19))
    return SourceSpec(0, "s", "s", predictions, labels, None, names, (255,), "probabilities", 1 / 255, 0.05, True)


def rgb_array(source: SourceSpec, chunk: tuple[int, int, int]) -> ArraySpec:
    return ArraySpec("i", (*source.labels.shape, 3), (*chunk, 3), "uint8", 1, (0, 1, 2, 3))


def test_report_without_images_needs_nothing() -> None:
    source = make_spec()
    assert ReportPlan.from_sources([source], [IMAGE_CHUNK], 10, 0, [rgb_array(source, IMAGE_CHUNK)]) == ReportPlan()
    without, shown = (make_plan([source], Settings(report_images=top), {}) for top in (0, 500))
    assert without.memory_report == BASE_MEMORY_BYTES
    assert (without.memory_condense, without.memory_score) == (shown.memory_condense, shown.memory_score)
    assert without.fingerprint == shown.fingerprint


@pytest.mark.parametrize(("top", "shown"), [(10, 10), (1000, 1000), (5000, 1000)])
def test_image_with_rgb_is_two_objects(top: int, shown: int) -> None:
    source = make_spec()
    planes, both = (
        ReportPlan.from_sources([source], [IMAGE_CHUNK], 10, top, [array])
        for array in (None, rgb_array(source, IMAGE_CHUNK))
    )
    assert planes.images == both.images == shown
    assert both.objects - planes.objects == shown
    assert planes.objects == shown + report_plan.FIXED_FILES + -(-shown // 1000) + -(-shown // 200)
    assert both.reads > planes.reads > 3 * shown, "labels, predicted classes, flags"


def test_fixed_files_are_the_static_files_and_the_facts() -> None:
    static = list((resources.files("masksift.review.report") / "static").iterdir())
    assert len(static) + 1 == report_plan.FIXED_FILES, "static files and the facts of the run"


def test_images_of_one_chunk_are_read_together() -> None:
    assert [report_plan.images_per_read(chunk, 100) for chunk in (1, 16)] == [1, 16]
    assert report_plan.images_per_read(16, report_plan.MAX_CACHED_PIXELS) == 1
    source = make_spec(images=1600, height=64, width=64)
    one, sixteen = (ReportPlan.from_sources([source], [(n, 64, 64)], 10, 1600, [None]) for n in (1, 16))
    assert one.reads - sixteen.reads > 2 * 1600 * 0.8, "predicted classes and flags"
    few = [ReportPlan.from_sources([source], [(n, 64, 64)], 10, 10, [None]).reads for n in (1, 16)]
    assert few[0] - few[1] <= 2, "random images are far apart"
    held = [drawing_memory(source, (n, 64, 64), None) for n in (1, 16)]
    assert held[1] - held[0] >= 15 * 64 * 64 * 2


def test_sources_share_the_images_in_proportion() -> None:
    one, other = make_spec(300), make_spec(100)
    found = ReportPlan.from_sources(
        [one, other], [IMAGE_CHUNK, IMAGE_CHUNK], 10, 40, [rgb_array(one, IMAGE_CHUNK), None]
    )
    assert found.objects == 40 + 30 + report_plan.FIXED_FILES + 2


def test_memory_includes_a_chunk_of_many_rgb_images() -> None:
    source = make_spec()
    small, large = (
        make_plan([source], Settings(report_images=500), {}, (), [rgb_array(source, (images, 512, 1024))])
        for images in (1, 1000)
    )
    assert large.memory == large.memory_report > 2 * 1000 * 512 * 1024 * 3
    assert small.memory_report < small.memory_score
    with raises(PlanRefused, match=r"per worker \(report\), .*or --report.top 0"):
        large.check_memory(2 << 30)
    small.check_memory(2 << 30)


@pytest.mark.parametrize(
    ("chunk", "label_chunk"),
    [
        ((1, 100, 120), (1, 900, 1200)),
        ((1, 900, 1200), (1, 100, 1200)),
        ((2, 450, 1200), (2, 900, 1200)),
    ],
)
def test_render_task_peak_memory_is_within_the_plan(
    tmp_path: Path, chunk: tuple[int, int, int], label_chunk: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masksift.engine.image_views.STRIP_PIXELS", 1 << 17)
    monkeypatch.setattr(report_plan, "STRIP_PIXELS", 1 << 17)
    monkeypatch.setattr(report_plan, "DRAWING_BYTES", 6 << 20)
    monkeypatch.setattr(report_plan, "PREFETCH_BYTES", 0)  # a local store reads nothing ahead
    data = make_data(images=2, classes=2, height=900, width=1200, dtype="uint8")
    source = write_source(tmp_path / "s.zarr", data, chunks=(1, 2, 900, 1200), label_chunks=label_chunk)
    group = zarr.open_group(source.path, mode="a")
    write_array(group, "images", make_rgb(data), "nyxc", "nyxc", (*chunk, 3), None)
    args = ("--methods", "softmin", "--regions.top", 1, "--report.top", 2)
    assert run_cli("run", "--source", source, "--out", tmp_path / "out", *args) == 0
    run = open_completed_run(str(tmp_path / "out"), StorageSection())
    part = run.tasks[0]
    array = open_images_array(part.spec, "images", {})
    assert isinstance(array, ArraySpec)
    task = RenderContext(run.context, "images", True)
    batch = RenderTask(part, tuple(make_sheets(ImageRef(i, i, (900, 1200), True) for i in range(2))))
    render(task, batch)  # imports and caches are not part of the peak
    tracemalloc.start()
    try:
        render(task, batch)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    planned = drawing_memory(part.spec, part.layout.chunks, array)
    assert planned / 4 < peak <= planned
