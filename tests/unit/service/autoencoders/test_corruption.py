"""Corruption spoils observed entries only, at its rate, and leaves a batch in canonical order."""

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.autoencoders.corruption import Noise, corrupted
from service.histories import History, HistoryBatch

NUM_ITEMS = 40
KINDS: tuple[Noise, ...] = get_args(Noise)
HISTORIES = st.lists(
    st.dictionaries(st.integers(0, NUM_ITEMS - 1), st.floats(0.25, 4)), min_size=1, max_size=5
)


def as_batch(histories: list[dict[int, float]]) -> HistoryBatch:
    rows = [History.of(list(history), list(history.values())) for history in histories]
    return HistoryBatch.from_rows(rows, range(len(rows)))


def entries(batch: HistoryBatch) -> list[dict[int, float]]:
    found: list[dict[int, float]] = [{} for _ in range(len(batch))]
    for row, item, weight in zip(
        batch.row_N.tolist(), batch.item_index_N.tolist(), batch.weight_N.tolist(), strict=True
    ):
        found[row][item] = weight
    return found


def spoilt(batch: HistoryBatch, noise: Noise, corruption: float, seed: int = 0) -> HistoryBatch:
    return corrupted(batch, noise, corruption, NUM_ITEMS, torch.Generator().manual_seed(seed))


@given(HISTORIES, st.sampled_from(KINDS), st.floats(0, 0.9), st.integers(0, 99))
def test_a_corrupted_batch_is_sorted_unique_and_of_the_same_users(
    histories: list[dict[int, float]], noise: Noise, corruption: float, seed: int
) -> None:
    before = as_batch(histories)
    after = spoilt(before, noise, corruption, seed)
    key_N = after.row_N * NUM_ITEMS + after.item_index_N
    assert bool((key_N.diff() > 0).all())
    assert after.offset_B1[0] == 0
    assert after.offset_B1[-1] == len(after.item_index_N) == len(after.weight_N)
    assert torch.equal(after.user_index_B, before.user_index_B)
    assert after.weight_N.dtype == before.weight_N.dtype
    assert ((after.item_index_N >= 0) & (after.item_index_N < NUM_ITEMS)).all()


@given(HISTORIES, st.floats(0.05, 0.9), st.integers(0, 99))
def test_as_many_false_entries_come_at_most_as_true_ones_go(
    histories: list[dict[int, float]], corruption: float, seed: int
) -> None:
    before = as_batch(histories)
    after = entries(spoilt(before, "salt_and_pepper", corruption, seed))
    for old, new in zip(entries(before), after, strict=True):
        kept, false = old.keys() & new.keys(), new.keys() - old.keys()
        assert {item: new[item] for item in kept} == {item: old[item] for item in kept}
        assert len(false) <= len(old) - len(kept)
        for item in false:
            assert new[item] == pytest.approx(sum(old.values()) / len(old), rel=1e-5)


@given(HISTORIES, st.sampled_from(["masking", "gaussian"]), st.integers(0, 99))
def test_the_other_kinds_add_no_entries(
    histories: list[dict[int, float]], noise: Noise, seed: int
) -> None:
    before = as_batch(histories)
    after = spoilt(before, noise, 0.5, seed)
    assert torch.equal(after.item_index_N, before.item_index_N)
    assert torch.equal(after.offset_B1, before.offset_B1)


@pytest.mark.parametrize("noise", KINDS)
def test_a_corruption_of_nothing_changes_nothing(noise: Noise) -> None:
    batch = as_batch([{1: 1.0, 2: 3.0}])
    assert spoilt(batch, noise, 0) is batch


def test_salt_and_pepper_takes_its_share_and_gives_back_nearly_as_much_from_all_items() -> None:
    own = range(5)
    after = spoilt(as_batch([dict.fromkeys(own, 1.0)] * 8000), "salt_and_pepper", 0.4)
    true_N = after.item_index_N < len(own)
    assert true_N.sum().item() / (8000 * 5) == pytest.approx(0.6, abs=0.01)
    # Of two draws a user one in eight falls on the user's own items, few on one another.
    count_I = torch.bincount(after.item_index_N[~true_N], minlength=NUM_ITEMS)[len(own) :]
    assert count_I.sum().item() / (8000 * 2) == pytest.approx(35 / 40, abs=0.03)
    assert count_I.min() > 0.8 * count_I.float().mean()


def test_gaussian_noise_has_the_deviation_it_is_asked_for_relative_to_each_weight() -> None:
    after = spoilt(as_batch([{3: 1.0, 7: 4.0}] * 20_000), "gaussian", 0.25).weight_N
    for weight_N, scale in ((after[0::2], 1.0), (after[1::2], 4.0)):
        assert weight_N.mean().item() == pytest.approx(scale, rel=0.01)
        assert weight_N.std().item() == pytest.approx(0.25 * scale, rel=0.03)
