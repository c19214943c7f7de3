"""Which images get an error: as many as the share says, the same ones for ever, and more with a larger share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from masksift.evaluation.simulate.sampling import first_share_index, image_rng, sample_images
from support.condensed import a_few

shares = st.floats(0, 1)


@a_few
@given(st.integers(0, 5), st.integers(1, 60), shares)
def test_as_many_as_the_share_says(seed: int, images: int, share: float) -> None:
    found = sample_images(seed, "drop", "a", images, share)
    assert len(found) == len(set(found)) == round(share * images)
    assert found == sorted(found)
    assert set(found) <= set(range(images))


@a_few
@given(st.integers(1, 60), shares, shares)
def test_a_larger_share_has_those_of_a_smaller_one(images: int, one: float, other: float) -> None:
    small, large = (set(sample_images(3, "swap", "a", images, share)) for share in sorted((one, other)))
    assert small <= large


@a_few
@given(st.integers(1, 60), st.lists(st.floats(0, 1), min_size=1, max_size=4).map(sorted))
def test_images_join_at_the_first_share_that_has_them(images: int, several: list[float]) -> None:
    joined = first_share_index(3, "swap", "a", images, several)
    for number, share in enumerate(several):
        assert [i for i in range(images) if joined[i] <= number] == sample_images(3, "swap", "a", images, share)


def test_seed_kind_and_source_each_have_a_say() -> None:
    words = [(0, "drop", "a"), (1, "drop", "a"), (0, "swap", "a"), (0, "drop", "b")]
    assert len({tuple(sample_images(*word, 1000, 0.1)) for word in words}) == 4
    assert len({int(image_rng(*word, 7).integers(2**60)) for word in words}) == 4
    assert image_rng(0, "drop", "a", 7).integers(2**60) == image_rng(0, "drop", "a", 7).integers(2**60)


def test_what_was_chosen_yesterday_is_chosen_tomorrow() -> None:
    assert sample_images(0, "drop", "street", 20, 0.2) == [2, 7, 9, 10]
