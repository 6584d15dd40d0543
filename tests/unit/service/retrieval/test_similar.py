"""Neighbours are those of brute force in float64, whatever the vectors."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from service.autoencoders.item_item import ItemItem
from service.retrieval.base import Wanted
from service.retrieval.similar import Neighbours

NOTHING = np.empty(0, dtype=np.int64)


def brute_force(vectors_IH: Tensor, item_index: int) -> NDArray[np.float32]:
    exact_IH = vectors_IH.double().numpy()
    norm_I = np.array([np.sqrt(np.sum(vector_H * vector_H)) for vector_H in exact_IH])
    norm_I[norm_I == 0] = 1
    dots = [np.sum(vector_H * exact_IH[item_index]) for vector_H in exact_IH]
    cosine_I: NDArray[np.float64] = np.array(dots) / (norm_I * norm_I[item_index])
    return cosine_I.astype(np.float32)


def best(score_I: NDArray[Any], eligible_I: NDArray[np.bool_], k: int) -> list[int]:
    order = sorted(np.flatnonzero(eligible_I).tolist(), key=lambda index: (-score_I[index], index))
    return order[:k]


@given(st.data())
def test_neighbours_are_those_of_brute_force(data: st.DataObject) -> None:
    num_items = data.draw(st.integers(1, 60), "items")
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 10_000), "seed"))
    dim = data.draw(st.integers(1, 40), "dim")
    vectors_IH = torch.randn(num_items, dim, generator=generator)
    # Items that stand twice tie with each other, and none may be lost at the cut.
    copied = data.draw(st.integers(0, num_items), "copied")
    vectors_IH[:copied] = vectors_IH[num_items - 1].clone()
    vectors_IH *= 10.0 ** data.draw(st.integers(-15, 15), "scale")
    item_index = data.draw(st.integers(0, num_items - 1), "item")
    shown_I = np.array(data.draw(st.lists(st.booleans(), min_size=num_items, max_size=num_items)))
    hidden_N = np.array(data.draw(st.lists(st.integers(0, num_items - 1), max_size=3)), np.int64)
    k = data.draw(st.integers(1, num_items + 2), "k")

    top = Neighbours(vectors_IH, None).top_k(item_index, Wanted(k, hidden_N, shown_I))

    eligible_I = shown_I.copy()
    eligible_I[[item_index, *hidden_N.tolist()]] = False
    cosine_I = brute_force(vectors_IH, item_index)
    assert len(top.item_index_K) == min(k, np.count_nonzero(eligible_I))
    np.testing.assert_allclose(top.score_K, cosine_I[top.item_index_K], rtol=1e-6, atol=1e-12)
    expected = best(cosine_I, eligible_I, k)
    assert top.item_index_K.tolist() == expected


def test_near_ties_that_float32_cannot_tell_apart_are_told_apart() -> None:
    generator = torch.Generator().manual_seed(1)
    base_H = torch.randn(64, generator=generator)
    vectors_IH = base_H + 1e-3 * torch.randn(500, 64, generator=generator)
    for item_index in (0, 17, 499):
        top = Neighbours(vectors_IH, None).top_k(item_index, Wanted(25, NOTHING))
        eligible_I = np.arange(500) != item_index
        expected = best(brute_force(vectors_IH, item_index), eligible_I, 25)
        assert top.item_index_K.tolist() == expected


def test_a_vector_of_zeros_is_like_nothing() -> None:
    vectors_IH = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    neighbours = Neighbours(vectors_IH, None)
    top = neighbours.top_k(0, Wanted(5, NOTHING))
    assert top.item_index_K.tolist() == [1, 2, 3]
    assert top.score_K.tolist() == [0, 0, 0]
    assert neighbours.top_k(1, Wanted(5, NOTHING)).item_index_K.tolist() == [0, 3, 2]


def test_norms_are_taken_once_and_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.retrieval.similar.BLOCK_ITEMS", 7)
    vectors_IH = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    neighbours = Neighbours(vectors_IH, None)
    assert "_norm_I" not in vars(neighbours)
    top = neighbours.top_k(3, Wanted(19, NOTHING))
    norm_I = neighbours._norm_I
    torch.testing.assert_close(norm_I, vectors_IH.double().norm(dim=1))
    neighbours.top_k(4, Wanted(1, NOTHING))
    assert neighbours._norm_I is norm_I
    expected = best(brute_force(vectors_IH, 3), np.arange(20) != 3, 19)
    assert top.item_index_K.tolist() == expected


@given(st.integers(0, 1000))
def test_item_item_weights_count_in_both_directions(seed: int) -> None:
    generator = np.random.default_rng(seed)
    dense_II = np.round(generator.normal(size=(12, 12)), 1).astype(np.float32)
    dense_II[generator.random((12, 12)) < 0.5] = 0
    np.fill_diagonal(dense_II, 0)
    source_M, item_M = dense_II.nonzero()
    offset_I1 = np.searchsorted(source_M, np.arange(13))
    weight_M = dense_II[source_M, item_M]
    linear = ItemItem.of(*map(torch.from_numpy, (offset_I1, item_M, weight_M)))
    neighbours = Neighbours(torch.empty(12, 0), linear)
    assert neighbours.measure == "weight"
    exact_II = dense_II.astype(np.float64)
    weight_II = ((exact_II + exact_II.T) / 2).astype(np.float32)
    for item_index in range(12):
        weight_I = weight_II[item_index]
        top = neighbours.top_k(item_index, Wanted(5, np.array([3])))
        eligible_I = (weight_I > 0) & (np.arange(12) != 3)
        assert top.item_index_K.tolist() == best(weight_I, eligible_I, 5)
        assert top.score_K.tolist() == weight_I[top.item_index_K].tolist()


def test_a_model_has_one_of_the_two() -> None:
    with pytest.raises(ValueError, match="neither"):
        Neighbours(torch.empty(3, 0), None).top_k(0, Wanted(1, NOTHING))
