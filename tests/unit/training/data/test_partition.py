import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data import interactions
from training.data.partition import random_ranks


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 2**32))
def test_random_ranks_number_every_users_rows_from_zero(counts: list[int], seed: int) -> None:
    rank_N = random_ranks(np.array(counts), np.random.default_rng(seed))
    for ranks, count in zip(np.split(rank_N, np.cumsum(counts)[:-1]), counts, strict=True):
        assert sorted(ranks.tolist()) == list(range(count))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 30))
def test_the_draw_is_the_same_in_blocks_of_any_size(counts: list[int], rows: int) -> None:
    count_U = np.array(counts)
    whole = random_ranks(count_U, np.random.default_rng(5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interactions, "BLOCK_ROWS", rows)
        assert random_ranks(count_U, np.random.default_rng(5)).tolist() == whole.tolist()
    order = np.lexsort(
        (np.random.default_rng(5).random(sum(counts)), np.repeat(np.arange(len(counts)), counts))
    )
    assert (
        np.argsort(order).tolist()
        == (whole + np.repeat(np.cumsum(counts) - counts, counts)).tolist()
    )


def test_random_ranks_are_fair() -> None:
    generator = np.random.default_rng(1)
    first_N = sum((random_ranks(np.array([4, 4]), generator) == 0).astype(int) for _ in range(4000))
    assert np.all(np.abs(first_N - 1000) < 150)  # five standard deviations
