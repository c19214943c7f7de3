"""Range partitions of sorted runs: each row is on the right side of every splitter, which are close to wanted ranks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from masksift.scoring import range_partition
from masksift.scoring.range_partition import KeySample, Splitters
from support.condensed import a_few

KEYS = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))
RUNS = st.lists(st.lists(KEYS, max_size=40), min_size=1, max_size=6)


def split(runs: list[list[float]], ranks: list[int], limit: int) -> tuple[Splitters, np.ndarray]:
    """Choose splitters of runs and cut the runs: the splitters, and their offsets (runs, S + 2)."""
    ordered = [np.sort(run) for run in runs]
    splitters = Splitters.near([KeySample.of(keys) for keys in ordered], ranks, limit)
    return splitters, np.stack([splitters.offsets(number, keys) for number, keys in enumerate(ordered)])


@a_few
@given(runs=RUNS, ranks=st.lists(st.integers(0, 99), max_size=4).map(sorted), limit=st.integers(1, 99))
def test_offsets_count_the_rows_of_each_run_before_a_splitter(
    runs: list[list[float]], ranks: list[int], limit: int
) -> None:
    splitters, offsets = split(runs, [min(rank, limit) for rank in ranks], limit)
    assert (np.diff(offsets, axis=1) >= 0).all()
    for number, run in enumerate(runs):
        expected = [
            sum((key, number) < splitter for key in run)
            for splitter in zip(splitters.keys.tolist(), splitters.runs.tolist(), strict=True)
        ]
        end = expected[-1] if splitters.last else len(run)
        assert offsets[number].tolist() == [0, *expected, end]


@a_few
@given(runs=RUNS, limit=st.integers(1, 99), sampled=st.integers(1, 8))
def test_needed_rows_are_never_cut_off(runs: list[list[float]], limit: int, sampled: int) -> None:
    whole, range_partition.SAMPLED_KEYS = range_partition.SAMPLED_KEYS, sampled
    try:
        _, offsets = split(runs, [limit], limit)
    finally:
        range_partition.SAMPLED_KEYS = whole
    assert offsets[:, -1].sum() >= min(limit, sum(map(len, runs)))


def test_brackets_around_wanted_ranks_are_narrow() -> None:
    rng = np.random.default_rng(0)
    runs = [rng.beta(8, 1, 4096).tolist() for _ in range(100)]
    ranks = list(range(50_000, 400_000, 50_000))
    _, offsets = split(runs, ranks, 409_600)
    bounds = offsets.sum(axis=0)
    for rank in ranks:
        below, above = bounds[bounds <= rank].max(), bounds[bounds >= rank].min()
        assert above - below < 1_000, "a step is 16 rows: 2 x 1.2 x 16 x sqrt(100) rows, and as much for estimates"


def test_rows_with_one_key_are_cut_between_runs() -> None:
    _, offsets = split([[1.0] * 40] * 6, [80, 160], 240)
    bounds = offsets.sum(axis=0).tolist()
    assert {40, 80, 120, 160} & set(bounds)
    assert all(bound % 40 == 0 for bound in bounds)
