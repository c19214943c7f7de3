"""The images of two runs side by side: as a dictionary would pair them, whatever their number and order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masksift.storage.tables import join_runs as pairing
from masksift.storage.tables import sort as ordering
from masksift.storage.tables.join_runs import join_images

SCHEMA = pairing._schema(("softmin",))
ROWS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(0, 4),
        st.sampled_from(["x", "y", "z", "'"]),
        st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    ),
    max_size=7,
    unique_by=lambda row: row[:2],
)

Drawn = Sequence[tuple[str, int, str, float | None]]


def table(rows: Drawn) -> pa.Table:
    """Rows of a run: those with a score are scored, and ranked by it."""
    ranked = sorted((row for row in rows if row[3] is not None), key=lambda row: (row[3], row[0], row[1]))
    rank = {row[:2]: place for place, row in enumerate(ranked, 1)}
    return pa.Table.from_pylist(
        [
            {
                "image_id": name,
                "source": source,
                "index": index,
                "status": "scored" if score is not None else "lost",
                "reason": None if score is not None else "gone",
                "rank": rank.get((source, index)),
                "percentile": 100 * rank[source, index] / len(ranked) if score is not None else None,
                "score softmin": score,
            }
            for source, index, name, score in rows
        ],
        schema=SCHEMA,
    )


def paired(old: Drawn, new: Drawn, same: set[str]) -> list[tuple[Any, Any]]:
    """(old row, new row) of each image, None where there is none."""

    def keyed(rows: Drawn) -> list[tuple[object, Any]]:
        return [((row[0], row[1]) if row[0] in same else row[2], row) for row in rows]

    sides = [keyed(old), keyed(new)]
    twice = {key for side in sides for key, times in Counter(key for key, _ in side).items() if times > 1}
    maps = [{key: row for key, row in side if key not in twice} for side in sides]
    return [(maps[0].get(key), maps[1].get(key)) for key in {**maps[0], **maps[1]}]


@settings(max_examples=25, deadline=None)
@given(old=ROWS, new=ROWS, same=st.sets(st.sampled_from("ab")))
def test_images_are_paired_by_place_or_by_name(old: Drawn, new: Drawn, same: set[str]) -> None:
    wanted = paired(old, new, same)
    scored = [(one, other) for one, other in wanted if one and other and None not in (one[3], other[3])]
    with join_images([table(old)], [table(new)], same, ["softmin"]) as pairs:
        counts = pairs.counts()
        assert counts["both"] == sum(bool(one and other) for one, other in wanted)
        assert counts["only_old"] == sum(other is None for _, other in wanted)
        assert counts["only_new"] == sum(one is None for one, _ in wanted)
        assert counts["scored_in_both"] == len(scored)
        assert counts["quarantined_in_old"] == sum(
            bool(one and other) and one[3] is None and other[3] is not None for one, other in wanted
        )
        assert counts["renamed"] == sum(bool(one and other) and one[2] != other[2] for one, other in wanted)
        (score,) = pairs.scores()
        assert score["images"] == len(scored)
        assert score["rose"] == sum(other[3] > one[3] for one, other in scored)
        assert score["fell"] == sum(other[3] < one[3] for one, other in scored)
        means = [np.mean([pair[side][3] for pair in scored]) if scored else None for side in (0, 1)]
        assert [score["old"], score["new"]] == means
        for up in (True, False):
            found = pairs.most_changed("softmin", "softmin", 3, up=up)
            changes = sorted(
                (
                    (other[3] - one[3], other)
                    for one, other in scored
                    if other[3] != one[3] and (other[3] > one[3]) == up
                ),
                key=lambda item: (-abs(item[0]), item[1][0], item[1][1]),
            )
            assert [(row["source"], row["index"], row["change"]) for row in found] == [
                (other[0], other[1], change) for change, other in changes[:3]
            ]
        ids, first = pairs.duplicate_ids()
        named = [[row[2] for row in rows if row[0] not in same] for rows in (old, new)]
        twice = {name for names in named for name, times in Counter(names).items() if times > 1}
        assert (ids, first) == (len(twice), sorted(twice)[:3])


def test_the_order_by_rank_is_that_of_the_share_reviewed() -> None:
    old = [("a", i, f"n{i}", i / 10) for i in range(4)]
    new = [("a", 0, "n0", 0.9), *(("a", i, f"n{i}", i / 10) for i in range(1, 4))]
    with join_images([table(old)], [table(new)], {"a"}, ["softmin"]) as pairs:
        (up,) = pairs.most_changed("rank", None, 9, up=True)
        down = pairs.most_changed("rank", "softmin", 9, up=False)
    assert (up["image_id"], up["old_rank"], up["new_rank"], up["change"], up["old_score"]) == ("n0", 1, 4, 75.0, None)
    assert [row["image_id"] for row in down] == ["n1", "n2", "n3"]


def test_more_rows_than_memory_go_through_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """500,000 images of each run, in an order of its own, in 64 MiB; every tenth is not in the other."""
    monkeypatch.setattr(ordering, "SORT_MEMORY_BYTES", 64 << 20)
    count, each = 500_000, 50_000

    def stream(seed: int, shift: int) -> Iterator[pa.Table]:
        places = np.random.default_rng(seed).permutation(count) + shift
        for start in range(0, count, each):
            some = places[start : start + each]
            yield pa.table(
                [
                    pa.array([f"a/rather/long/name/of/an/image/{i:09d}" for i in some]),
                    pa.array(["a"] * each),
                    pa.array(some),
                    pa.array(["scored"] * each),
                    pa.nulls(each, pa.string()),
                    pa.array(some),
                    pa.array(some / 5e3),
                    pa.array((some + seed) % 1000 / 1000),
                ],
                schema=SCHEMA,
            )

    with join_images(stream(1, 0), stream(2, count // 10), set(), ["softmin"]) as pairs:
        counts = pairs.counts()
        assert (counts["both"], counts["only_old"], counts["only_new"]) == (450_000, 50_000, 50_000)
        (score,) = pairs.scores()
        assert (score["rose"], score["fell"]) == (449_550, 450)
        assert [row["index"] for row in pairs.only_in("old", 2)] == [0, 1]
        assert [row["index"] for row in pairs.most_changed("softmin", "softmin", 2, up=False)] == [50_998, 51_998]
