"""Join of the images of two runs, compared with a join by dictionaries."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masksift.storage.tables import duckdb_connection, join_runs
from masksift.storage.tables.join_runs import join_images

SCHEMA = join_runs._schema(("softmin",))
ROWS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(0, 4),
        st.sampled_from(["x", "ü", "u\u0308", "'"]),
        st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    ),
    max_size=7,
    unique_by=lambda row: row[:2],
)

Rows = Sequence[tuple[str, int, str, float | None]]


def make_table(rows: Rows) -> pa.Table:
    """Make the rows of a run. Rows with a score are ranked by it, all others are missing."""
    ranked = sorted((row for row in rows if row[3] is not None), key=lambda row: (row[3], row[0], row[1]))
    rank = {row[:2]: position for position, row in enumerate(ranked, 1)}
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


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def expected_pairs(old: Rows, new: Rows, same: set[str]) -> list[tuple[Any, Any]]:
    """Return the expected (old row, new row) of each image, None for a missing row."""

    def with_keys(rows: Rows) -> list[tuple[object, Any]]:
        return [((row[0], row[1]) if row[0] in same else nfc(row[2]), row) for row in rows]

    sides = [with_keys(old), with_keys(new)]
    twice = {key for side in sides for key, times in Counter(key for key, _ in side).items() if times > 1}
    maps = [{key: row for key, row in side if key not in twice} for side in sides]
    return [(maps[0].get(key), maps[1].get(key)) for key in {**maps[0], **maps[1]}]


@settings(max_examples=25, deadline=None)
@given(old=ROWS, new=ROWS, same=st.sets(st.sampled_from("ab")))
def test_join_pairs_images_by_index_or_by_id(old: Rows, new: Rows, same: set[str]) -> None:
    pairs = expected_pairs(old, new, same)
    scored = [(one, other) for one, other in pairs if one and other and None not in (one[3], other[3])]
    with join_images([make_table(old)], [make_table(new)], same, ["softmin"]) as joined:
        counts = joined.counts()
        assert counts["both"] == sum(bool(one and other) for one, other in pairs)
        assert counts["only_old"] == sum(other is None for _, other in pairs)
        assert counts["only_new"] == sum(one is None for one, _ in pairs)
        assert counts["scored_in_both"] == len(scored)
        assert counts["quarantined_in_old"] == sum(
            bool(one and other) and one[3] is None and other[3] is not None for one, other in pairs
        )
        assert counts["renamed"] == sum(bool(one and other) and nfc(one[2]) != nfc(other[2]) for one, other in pairs)
        (score,) = joined.scores()
        assert score["images"] == len(scored)
        assert score["rose"] == sum(other[3] > one[3] for one, other in scored)
        assert score["fell"] == sum(other[3] < one[3] for one, other in scored)
        means = [np.mean([pair[side][3] for pair in scored]) if scored else None for side in (0, 1)]
        assert [score["old"], score["new"]] == means
        for up in (True, False):
            rows = joined.most_changed("softmin", "softmin", 3, up=up)
            changes = sorted(
                (
                    (other[3] - one[3], other)
                    for one, other in scored
                    if other[3] != one[3] and (other[3] > one[3]) == up
                ),
                key=lambda item: (-abs(item[0]), item[1][0], item[1][1]),
            )
            assert [(row["source"], row["index"], row["change"]) for row in rows] == [
                (other[0], other[1], change) for change, other in changes[:3]
            ]
        ids, first = joined.duplicate_ids()
        named = [[nfc(row[2]) for row in rows if row[0] not in same] for rows in (old, new)]
        twice = {name for names in named for name, times in Counter(names).items() if times > 1}
        assert (ids, first) == (len(twice), sorted(twice)[:3])


def test_most_changed_by_rank_compares_percentiles() -> None:
    old = [("a", i, f"n{i}", i / 10) for i in range(4)]
    new = [("a", 0, "n0", 0.9), *(("a", i, f"n{i}", i / 10) for i in range(1, 4))]
    with join_images([make_table(old)], [make_table(new)], {"a"}, ["softmin"]) as joined:
        (up,) = joined.most_changed("rank", None, 9, up=True)
        down = joined.most_changed("rank", "softmin", 9, up=False)
    assert (up["image_id"], up["old_rank"], up["new_rank"], up["change"], up["old_score"]) == ("n0", 1, 4, 75.0, None)
    assert [row["image_id"] for row in down] == ["n1", "n2", "n3"]


def test_join_of_more_rows_than_memory_spills_to_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Join 500,000 images of each run in random order in 64 MiB; a tenth is in one run only."""
    monkeypatch.setattr(duckdb_connection, "MEMORY_BYTES", 64 << 20)
    count, each = 500_000, 50_000

    def stream(seed: int, shift: int) -> Iterator[pa.Table]:
        indices = np.random.default_rng(seed).permutation(count) + shift
        for start in range(0, count, each):
            part = indices[start : start + each]
            yield pa.table(
                [
                    pa.array([f"a/rather/long/name/of/an/image/{i:09d}" for i in part]),
                    pa.array(["a"] * each),
                    pa.array(part),
                    pa.array(["scored"] * each),
                    pa.nulls(each, pa.string()),
                    pa.array(part),
                    pa.array(part / 5e3),
                    pa.array((part + seed) % 1000 / 1000),
                ],
                schema=SCHEMA,
            )

    with join_images(stream(1, 0), stream(2, count // 10), set(), ["softmin"]) as joined:
        counts = joined.counts()
        assert (counts["both"], counts["only_old"], counts["only_new"]) == (450_000, 50_000, 50_000)
        (score,) = joined.scores()
        assert (score["rose"], score["fell"]) == (449_550, 450)
        assert [row["index"] for row in joined.only_in("old", 2)] == [0, 1]
        assert [row["index"] for row in joined.most_changed("softmin", "softmin", 2, up=False)] == [50_998, 51_998]
