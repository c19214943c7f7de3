"""The plan: arithmetic over shapes. Blocks cover every image once, own whole chunks, and are made when asked for."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.core.errors import PlanRefused
from masksift.core.specs import ArraySpec, Block, SourceSpec
from masksift.engine.planning.blocks import BlockSequence
from masksift.engine.planning.layout import MAX_BLOCK_IMAGES, Settings
from masksift.engine.planning.memory import REGION_BYTES
from masksift.engine.planning.plan import Plan, make_plan
from support.condensed import a_few

GIB = 1 << 30


def spec(
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
    """A source of that shape, with chunks of so many images of `tile` x `tile` pixels."""
    itemsize = {"uint8": 1, "uint16": 2, "float16": 2, "float32": 4}[dtype]
    rows, columns = (tile or height), (tile or width)
    whole = (images, classes, height, width)
    shards = None if shard is None else (shard, *whole[1:])
    predictions = ArraySpec("p", whole, (chunk, classes, rows, columns), dtype, itemsize, (0, 1, 2, 3), shards)
    labels = ArraySpec("l", (images, height, width), (chunk, rows, columns), "uint8", 1, (0, 1, 2))
    names = tuple(f"class {k}" for k in range(classes))
    return SourceSpec(index, "s", "s", predictions, labels, None, names, (255,), kind, 1 / 255, 0.05, True)


def plan_of(*sources: SourceSpec, **settings: Any) -> Plan:
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
def test_blocks_are_a_sequence(sizes: list[tuple[int, int]], data: st.DataObject) -> None:
    blocks, listed = BlockSequence(tuple(sizes)), list(BlockSequence(tuple(sizes)))
    edge = st.one_of(st.none(), st.integers(-99, 99))
    part = slice(data.draw(edge), data.draw(edge))
    assert blocks[part] == listed[part]
    assert blocks[-1] == listed[-1]
    assert blocks.index(listed[-1]) == len(listed) - 1
    with pytest.raises(IndexError, match="none has the number"):
        blocks[len(blocks)]


def test_a_plan_of_a_hundred_million_images_is_as_small_as_one_of_a_hundred() -> None:
    small, large = plan_of(spec(100)), plan_of(spec(100_000_000))
    assert len(large.blocks) > 300_000
    assert large.blocks[len(large.blocks) - 1].stop == 100_000_000
    assert abs(len(pickle.dumps(large)) - len(pickle.dumps(small))) < 100


def a_block(source: SourceSpec) -> tuple[float, float]:
    """(GiB of prediction, Mpixel) of a block."""
    [layout] = plan_of(source).layouts
    pixels = layout.block_images * source.pixels
    return pixels * source.classes * source.predictions.itemsize / 2**30, pixels / 1e6


def test_a_block_is_a_task_of_seconds() -> None:
    for source in (spec(2_000), spec(20_000), spec(400, classes=150), spec(2_000, dtype="float32")):
        assert 0.5 <= a_block(source)[0] <= 2
    assert plan_of(spec(10_000_000, 8, 32, 32, chunk=64)).layouts[0].block_images == MAX_BLOCK_IMAGES


def test_blocks_of_a_large_data_set_are_larger_so_that_scoring_one_takes_seconds_too() -> None:
    for source in (spec(1_000_000), spec(1_000_000, classes=150), spec(1_000_000, dtype="float32")):
        gibibytes, megapixels = a_block(source)
        assert gibibytes <= 16
        assert 100 <= megapixels <= 140 or gibibytes > 15
        assert len(plan_of(source).blocks) > 1_000


@a_few
@given(
    images=st.integers(1, 400),
    chunk=st.integers(1, 9),
    shards=st.one_of(st.none(), st.integers(1, 4)),
    side=st.sampled_from([8, 64, 300]),
)
def test_a_block_owns_whole_chunks_of_what_it_writes(images: int, chunk: int, shards: int | None, side: int) -> None:
    source = spec(images, 5, side, side, chunk=chunk, shard=None if shards is None else shards * chunk)
    [layout] = plan_of(source).layouts
    assert layout.block_images == images or layout.block_images % layout.chunks[0] == 0
    groups = [group for block in plan_of(source).blocks for group in layout.chunk_ranges(block.start, block.stop)]
    assert all(start % layout.chunks[0] == 0 for start, _ in groups)


def test_a_plan_prints_as_json() -> None:
    tree = json.loads(json.dumps(plan_of(spec(40), spec(3, index=1)).as_json()))
    assert [Block(**block).source for block in tree["blocks"]][-1] == 1
    assert tree["memory"] == max(tree["memory_condense"], tree["memory_score"])
    assert tree["layouts"][0]["evidence_dtype"] == "uint8"


def test_the_plan_depends_on_the_data_alone() -> None:
    assert plan_of(spec(500)) == plan_of(spec(500))
    assert plan_of(spec(500)) != plan_of(spec(501))


def test_memory_grows_with_the_chunk_and_not_with_the_image_or_their_number() -> None:
    one, many = plan_of(spec(10, 20, 4096, 4096, tile=1024)), plan_of(spec(10_000, 20, 4096, 4096, tile=1024))
    assert many.memory == one.memory
    assert plan_of(spec(1, 20, 20_000, 20_000, tile=1024)).memory < 4 * GIB
    assert plan_of(spec(1, 20, 20_000, 20_000)).memory > 16 * GIB


def test_what_a_block_lists_of_its_regions_is_in_the_plan_and_bounded() -> None:
    """Tiny images: a block of them has few regions, and one of many has no more than are listed."""
    few, many = spec(16, 20, 64, 64), spec(100_000, 20, 64, 64)
    without = plan_of(many).memory_score
    assert plan_of(many, min_area=16, max_regions=100).memory_score == pytest.approx(
        without + 1.1 * 100 * REGION_BYTES, abs=1
    )
    block = plan_of(few).layouts[0].block_images * 64 * 64
    assert plan_of(few, min_area=16, max_regions=1 << 40).memory_score == pytest.approx(
        plan_of(few).memory_score + 1.1 * (block // 16) * REGION_BYTES, abs=1
    )


@pytest.mark.parametrize(("stage", "remedy"), [("condensing", "prediction chunks"), ("scoring", "--regions.top")])
def test_a_worker_that_is_too_small_is_refused_with_both_numbers(stage: str, remedy: str) -> None:
    source = spec(1, 20, 8192, 8192) if stage == "condensing" else spec(100, 2)
    plan = plan_of(source, max_regions=1 << 20)
    plan.check_memory(plan.memory)
    plan.check_memory(None)
    with pytest.raises(PlanRefused, match=rf"needs .+ per worker \({stage}\), w has 64.0 MiB. .*smaller {remedy}"):
        plan.check_memory(64 << 20, "w")
