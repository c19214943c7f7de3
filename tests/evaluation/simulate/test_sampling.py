"""Choice of images and random generators."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from masksift.evaluation.simulate.sampling import first_share_index, image_rng, sample_images
from support.condensed import a_few

shares = st.floats(0, 1)


@a_few
@given(st.integers(0, 5), st.integers(1, 60), shares)
def test_sample_images_chooses_the_share(seed: int, images: int, share: float) -> None:
    indices = sample_images(seed, "drop", "a", images, share)
    assert len(indices) == len(set(indices)) == round(share * images)
    assert indices == sorted(indices)
    assert set(indices) <= set(range(images))


@a_few
@given(st.integers(1, 60), shares, shares)
def test_sample_of_larger_share_contains_the_smaller_one(images: int, one: float, other: float) -> None:
    small, large = (set(sample_images(3, "swap", "a", images, share)) for share in sorted((one, other)))
    assert small <= large


@a_few
@given(st.integers(1, 60), st.lists(st.floats(0, 1), min_size=1, max_size=4).map(sorted))
def test_first_share_index_agrees_with_sample_images(images: int, several: list[float]) -> None:
    first_share = first_share_index(3, "swap", "a", images, several)
    for number, share in enumerate(several):
        assert [i for i in range(images) if first_share[i] <= number] == sample_images(3, "swap", "a", images, share)


def test_sampling_depends_on_seed_error_type_and_source() -> None:
    keys = [(0, "drop", "a"), (1, "drop", "a"), (0, "swap", "a"), (0, "drop", "b")]
    assert len({tuple(sample_images(*key, 1000, 0.1)) for key in keys}) == 4
    assert len({int(image_rng(*key, 7).integers(2**60)) for key in keys}) == 4
    assert image_rng(0, "drop", "a", 7).integers(2**60) == image_rng(0, "drop", "a", 7).integers(2**60)


def test_sample_images_is_stable_across_versions() -> None:
    assert sample_images(0, "drop", "street", 20, 0.2) == [2, 7, 9, 10]
