import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.autoencoders.item_item import ItemItem
from service.histories import History, HistoryBatch
from service.retrieval.base import Wanted
from service.retrieval.item_item import ItemItemRetriever

NUM_ITEMS = 60
NO_QUERIES = torch.empty(0, 0)


def random_matrix(seed: int, density: float) -> np.ndarray:
    generator = np.random.default_rng(seed)
    weights_II = generator.normal(0, 0.1, (NUM_ITEMS, NUM_ITEMS)).astype(np.float32)
    weights_II *= generator.random(weights_II.shape) < density
    return weights_II


def retriever(weights_II: np.ndarray, bias_I: np.ndarray) -> ItemItemRetriever:
    row_M, item_M = np.nonzero(weights_II)
    offset_I1 = np.searchsorted(row_M, np.arange(NUM_ITEMS + 1))
    parts = (offset_I1, item_M, weights_II[row_M, item_M])
    matrix = ItemItem.of(*(torch.from_numpy(part) for part in parts))
    return ItemItemRetriever(matrix, torch.from_numpy(bias_I))


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.05, 1.0]), st.integers(1, NUM_ITEMS + 5))
def test_lists_are_those_of_a_float64_brute_force(seed: int, density: float, k: int) -> None:
    generator = np.random.default_rng(seed)
    weights_II = random_matrix(seed, density)
    bias_I = (generator.integers(0, 3, NUM_ITEMS) * 1e-6).astype(np.float32)
    histories = [
        History.of(generator.choice(NUM_ITEMS, size, replace=False), generator.random(size) + 0.1)
        for size in (0, 1, 7, NUM_ITEMS)
    ]
    wanted = [Wanted(k, history.item_index_N[:30]) for history in histories]
    batch = HistoryBatch.from_rows(histories)
    tops = retriever(weights_II, bias_I).top_k(NO_QUERIES, wanted, batch)
    for history, want, top in zip(histories, wanted, tops, strict=True):
        weight_1N = history.weight_N.astype(np.float64)[None, :]
        score_I = (weight_1N @ weights_II[history.item_index_N])[0] + bias_I.astype(np.float64)
        rounded_I = score_I.astype(np.float32)
        hidden = set(want.hidden_item_index.tolist())
        shown = [index for index in range(NUM_ITEMS) if index not in hidden]
        expected = sorted(shown, key=lambda index: (-rounded_I[index], index))[:k]
        np.testing.assert_allclose(top.score_K, score_I[expected], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(score_I[top.item_index_K], score_I[expected], atol=1e-8)
        assert not hidden.intersection(top.item_index_K.tolist())


def test_a_row_alone_is_bit_for_bit_the_row_in_a_batch() -> None:
    generator = np.random.default_rng(0)
    bias_I = generator.normal(0, 1e-6, NUM_ITEMS).astype(np.float32)
    found = retriever(random_matrix(1, 0.5), bias_I)
    histories = [History.of(generator.choice(NUM_ITEMS, size)) for size in range(0, 40, 3)]
    wanted = [Wanted(1 + row, history.item_index_N) for row, history in enumerate(histories)]
    together = found.top_k(NO_QUERIES, wanted, HistoryBatch.from_rows(histories))
    for history, want, expected in zip(histories, wanted, together, strict=True):
        (alone,) = found.top_k(NO_QUERIES, [want], HistoryBatch.from_rows([history]))
        assert alone.item_index_K.tolist() == expected.item_index_K.tolist()
        assert alone.score_K.tobytes() == expected.score_K.tobytes()


def test_where_no_weight_speaks_the_bias_does_and_then_the_index() -> None:
    bias_I = np.zeros(NUM_ITEMS, dtype=np.float32)
    bias_I[[40, 30, 50]] = [3e-7, 2e-7, 3e-7]
    found = retriever(np.zeros((NUM_ITEMS, NUM_ITEMS), dtype=np.float32), bias_I)
    batch = HistoryBatch.from_rows([History.of([40])])
    (top,) = found.top_k(NO_QUERIES, [Wanted(4, np.array([0]))], batch)
    assert top.item_index_K.tolist() == [40, 50, 30, 1]


def test_it_says_that_it_needs_histories() -> None:
    found = retriever(random_matrix(0, 0.1), np.zeros(NUM_ITEMS, dtype=np.float32))
    assert found.name == "item-item"
    with pytest.raises(ValueError, match="needs histories"):
        found.top_k(NO_QUERIES, [Wanted(1, np.array([0]))])
