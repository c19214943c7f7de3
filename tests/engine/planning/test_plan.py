"""Plans: blocks, sizes of blocks, and memory."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.core.errors import PlanRefused
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.engine.planning.blocks import BlockSequence
from masksift.engine.planning.layout import MAX_BLOCK_IMAGES, Settings
from masksift.engine.planning.memory import PACKED_REGION_BYTES, REGION_BYTES
from masksift.engine.planning.plan import Plan, make_plan
from support.condensed import a_few

GIB = 1 << 30


def make_spec(
    images: int,
    classes: int = 19,
    height: int = 512,
    width: int = 1024,
    *,
    index: int = 0,
    chunk: int = 1,
    tile: int | None = None,
    shard: int | None = None,
    dtype: str = "uint8",
    kind: str = "probabilities",
) -> SourceSpec:
    """Make a source whose chunks hold ``chunk`` images of ``tile`` x ``tile`` pixels."""
    itemsize = {"uint8": 1, "uint16": 2, "float16": 2, "float32": 4}[dtype]
    rows, columns = (tile or height), (tile or width)
    whole = (images, classes, height, width)
    shards = None if shard is None else (shard, *whole[1:])
    predictions = ArraySpec("p", whole, (chunk, classes, rows, columns), dtype, itemsize, (0, 1, 2, 3), shards)
    labels = ArraySpec("l", (images, height, width), (chunk, rows, columns), "uint8", 1, (0, 1, 2))
    names = tuple(f"class {k}" for k in range(classes))
    return SourceSpec(index, "s", "s", predictions, labels, None, names, (255,), kind, 1 / 255, 0.05, True)


def plan_for(*sources: SourceSpec, **settings: Any) -> Plan:
    return make_plan(sources, Settings(**settings), {"what": "a test"})


sizes = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 60)), min_size=1, max_size=5)


@a_few
@given(sizes=sizes)
def test_blocks_cover_every_image_of_every_source_once_in_order(sizes: list[tuple[int, int]]) -> None:
    blocks = BlockSequence(tuple(sizes))
    assert [block.number for block in blocks] == list(range(len(blocks)))
    covered = [(block.source, i) for block in blocks for i in range(block.start, block.stop)]
    assert covered == [(source, i) for source, (images, _) in enumerate(sizes) for i in range(images)]
    assert all(block.images <= sizes[block.source][1] for block in blocks)


@a_few
@given(sizes=sizes, data=st.data())
def test_block_sequence_behaves_like_a_list(sizes: list[tuple[int, int]], data: st.DataObject) -> None:
    blocks, listed = BlockSequence(tuple(sizes)), list(BlockSequence(tuple(sizes)))
    edge = st.one_of(st.none(), st.integers(-99, 99))
    part = slice(data.draw(edge), data.draw(edge))
    assert blocks[part] == listed[part]
    assert blocks[-1] == listed[-1]
    assert blocks.index(listed[-1]) == len(listed) - 1
    with pytest.raises(IndexError, match="none has the number"):
        blocks[len(blocks)]


def test_plan_of_a_hundred_million_images_pickles_as_small_as_one_of_a_hundred() -> None:
    small, large = plan_for(make_spec(100)), plan_for(make_spec(100_000_000))
    assert len(large.blocks) > 300_000
    assert large.blocks[len(large.blocks) - 1].stop == 100_000_000
    assert abs(len(pickle.dumps(large)) - len(pickle.dumps(small))) < 100


def block_size(source: SourceSpec) -> tuple[float, float]:
    """Return the GiB of predictions and the megapixels of a block."""
    [layout] = plan_for(source).layouts
    pixels = layout.block_images * source.pixels
    return pixels * source.classes * source.predictions.itemsize / 2**30, pixels / 1e6


def test_block_of_a_medium_data_set_has_about_a_gibibyte() -> None:
    for source in (make_spec(2_000), make_spec(20_000), make_spec(400, classes=150), make_spec(2_000, dtype="float32")):
        assert 0.5 <= block_size(source)[0] <= 2
    assert plan_for(make_spec(10_000_000, 8, 32, 32, chunk=64)).layouts[0].block_images == MAX_BLOCK_IMAGES


def test_block_of_a_large_data_set_has_more_pixels() -> None:
    for source in (make_spec(1_000_000), make_spec(1_000_000, classes=150), make_spec(1_000_000, dtype="float32")):
        gibibytes, megapixels = block_size(source)
        assert gibibytes <= 16
        assert 100 <= megapixels <= 140 or gibibytes > 15
        assert len(plan_for(source).blocks) > 1_000


@a_few
@given(
    images=st.integers(1, 400),
    chunk=st.integers(1, 9),
    shards=st.one_of(st.none(), st.integers(1, 4)),
    side=st.sampled_from([8, 64, 300]),
)
def test_block_consists_of_whole_evidence_chunks(images: int, chunk: int, shards: int | None, side: int) -> None:
    source = make_spec(images, 5, side, side, chunk=chunk, shard=None if shards is None else shards * chunk)
    [layout] = plan_for(source).layouts
    assert layout.block_images == images or layout.block_images % layout.chunks[0] == 0
    groups = [group for block in plan_for(source).blocks for group in layout.chunk_ranges(block.start, block.stop)]
    assert all(start % layout.chunks[0] == 0 for start, _ in groups)


def test_plan_as_json_has_plain_values() -> None:
    tree = json.loads(json.dumps(plan_for(make_spec(40), make_spec(3, index=1)).as_json()))
    assert tree["blocks"] == len(plan_for(make_spec(40), make_spec(3, index=1)).blocks)
    assert tree["memory"] == max(tree["memory_condense"], tree["memory_score"])
    assert tree["layouts"][0]["evidence_dtype"] == "uint8"


def test_plan_of_the_same_data_is_equal() -> None:
    assert plan_for(make_spec(500)) == plan_for(make_spec(500))
    assert plan_for(make_spec(500)) != plan_for(make_spec(501))


def test_memory_depends_on_the_chunk_and_not_on_image_size_or_count() -> None:
    one, many = (
        plan_for(make_spec(10, 20, 4096, 4096, tile=1024)),
        plan_for(make_spec(10_000, 20, 4096, 4096, tile=1024)),
    )
    assert many.memory == one.memory
    assert plan_for(make_spec(1, 20, 20_000, 20_000, tile=1024)).memory < 4 * GIB
    assert plan_for(make_spec(1, 20, 20_000, 20_000)).memory > 16 * GIB


def test_memory_includes_a_chunk_that_is_larger_than_its_array() -> None:
    exact, larger = plan_for(make_spec(10)), plan_for(make_spec(10, tile=32_768))
    assert larger.memory - exact.memory > 19 * GIB


@pytest.mark.parametrize(("side", "min_area", "regions"), [(64, 16, 64), (64, 128, 32), (512, 16, 512)])
def test_memory_includes_the_regions_of_a_block_up_to_the_limit_of_an_image(
    side: int, min_area: int, regions: int
) -> None:
    source = make_spec(8, 20, side, side)
    images = plan_for(source).layouts[0].block_images
    none = plan_for(source, min_area=side * side + 1)
    assert plan_for(source, min_area=min_area).memory_score == pytest.approx(
        none.memory_score + 1.1 * images * regions * (REGION_BYTES + 2 * PACKED_REGION_BYTES), abs=1
    )


def test_memory_to_rank_includes_the_listed_regions_up_to_their_limit() -> None:
    source = make_spec(100_000, 20, 64, 64)
    few, many = (plan_for(source, min_area=16, max_regions=count).memory_rank for count in (100, 200))
    assert many - few == pytest.approx(1.1 * 250 * REGION_BYTES, abs=1)


@pytest.mark.parametrize(("stage", "remedy"), [("condensing", "prediction chunks"), ("ranking", "--regions.top")])
def test_worker_with_too_little_memory_is_refused_with_both_amounts(stage: str, remedy: str) -> None:
    source = make_spec(1, 20, 8192, 8192) if stage == "condensing" else make_spec(100, 2)
    plan = plan_for(source, max_regions=1 << 20)
    plan.check_memory(plan.memory)
    plan.check_memory(None)
    with pytest.raises(PlanRefused, match=rf"needs .+ per worker \({stage}\), w has 64.0 MiB. .*smaller {remedy}"):
        plan.check_memory(64 << 20, "w")


def test_plan_estimates_more_seconds_for_more_images_classes_and_remote_requests() -> None:
    seconds = [
        plan_for(make_spec(10)).seconds,
        plan_for(make_spec(20)).seconds,
        plan_for(make_spec(20, classes=150)).seconds,
        plan_for(make_spec(20, classes=150), remote=True).seconds,
        plan_for(make_spec(20, classes=150), remote=True, report_images=20).seconds,
    ]
    assert seconds == sorted(set(seconds))
    assert plan_for(make_spec(1_000_000)).seconds > 20 * plan_for(make_spec(1_000)).seconds
