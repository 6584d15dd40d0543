import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.histories import HistoryBatch
from service.retrieval import integer_search, quantized
from service.retrieval.base import TopK, Wanted
from service.retrieval.exact import ExactRetriever
from service.retrieval.integer_search import (
    Found,
    IntegerSearch,
    QuantizedItems,
    largest_weight,
)
from service.retrieval.quantized import QuantizedRetriever

NOTHING = np.empty(0, dtype=np.int64)


def wanted(k: int, hidden: list[int]) -> Wanted:
    return Wanted(k, np.array(hidden, dtype=np.int64))


def by_brute_force(score_I: torch.Tensor, want: Wanted) -> list[int]:
    hidden = set(want.hidden_item_index.tolist())
    scores = score_I.float().tolist()
    shown = [index for index in range(len(scores)) if index not in hidden]
    return sorted(shown, key=lambda index: (-scores[index], index))[: want.k]


def same(one: TopK, other: TopK) -> bool:
    items = np.array_equal(one.item_index_K, other.item_index_K)
    return items and np.array_equal(one.score_K, other.score_K)


@given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from([0.0, 1e-6, 1e-2, 1.0]))
def test_lists_are_those_of_float64_however_close_the_scores_lie(
    seed: int, k: int, spread: float
) -> None:
    """From items that are all the same to items that have nothing in common."""
    generator = torch.Generator().manual_seed(seed)
    vectors_IH = torch.randn(1, 24, generator=generator).repeat(300, 1)
    vectors_IH += spread * torch.randn(300, 24, generator=generator)
    bias_I = 0.1 * spread * torch.randn(300, generator=generator)
    query_BH = torch.randn(3, 24, generator=generator) * torch.tensor([[1e-3], [1.0], [1e3]])
    score_BI = query_BH.double() @ vectors_IH.double().T + bias_I
    wants = [wanted(k, [5, 7]), wanted(1, []), wanted(300, list(range(0, 300, 3)))]
    for first, last in ((0, 2), (0, 3)):  # with fewer candidates than items, and with all of them
        tops = QuantizedRetriever(vectors_IH, bias_I).top_k(query_BH[first:last], wants[first:last])
        for want, top, score_I in zip(wants, tops, score_BI, strict=False):
            assert top.item_index_K.tolist() == by_brute_force(score_I, want)


@given(st.integers(0, 10_000), st.floats(1e-4, 1e4), st.sampled_from([127, 63]))
def test_no_score_is_above_its_bound(seed: int, size: float, largest: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Rows from hardly anything to a thousand times that, heavy-tailed inside.
    row_size = torch.logspace(-3, 0, 50)[:, None]
    vectors_IH = size * row_size * torch.randn(50, 40, generator=generator) ** 3
    bias_I = size * torch.randn(50, generator=generator)
    query_BH = torch.randn(4, 40, generator=generator) ** 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantized, "largest_weight", lambda: largest)
        retriever = QuantizedRetriever(vectors_IH, bias_I)
    score_BI = query_BH.double() @ vectors_IH.double().T + bias_I
    reach_B = query_BH.norm(dim=1) * vectors_IH.norm(dim=1).max() + bias_I.abs().max()
    bound_BI = retriever.search(query_BH, NOTHING, count=1).bound_BI.double()
    assert (bound_BI - score_BI >= -1e-6 * reach_B[:, None]).all()
    # A bound that is never reached by far would be true and of no use.
    assert (bound_BI - score_BI <= 0.1 * reach_B[:, None]).all()


def test_a_row_alone_is_bit_for_bit_the_row_in_a_batch() -> None:
    torch.manual_seed(0)
    retriever = QuantizedRetriever(torch.randn(3000, 64), torch.randn(3000))
    query_BH = torch.randn(70, 64)
    wants = [wanted(1 + 3 * row, list(range(row))) for row in range(70)]
    for row, together in enumerate(retriever.top_k(query_BH, wants)):
        (alone,) = retriever.top_k(query_BH[row : row + 1], wants[row : row + 1])
        assert same(alone, together)


def test_a_linear_part_is_added_before_anything_is_picked() -> None:
    torch.manual_seed(0)
    added_BI = 5 * torch.randn(40, 4000, dtype=torch.float64)
    vectors_IH, bias_I, query_BH = torch.randn(4000, 16), torch.randn(4000), torch.randn(40, 16)
    wants = [wanted(10, [row]) for row in range(40)]
    histories = HistoryBatch.from_rows([])
    int8 = QuantizedRetriever(vectors_IH, bias_I, lambda _: added_BI)
    float32 = ExactRetriever(vectors_IH, bias_I, lambda _: added_BI)
    tops = int8.top_k(query_BH, wants, histories)
    expected = float32.top_k(query_BH, wants, histories)
    assert all(same(one, other) for one, other in zip(tops, expected, strict=True))
    with pytest.raises(ValueError, match="needs histories"):
        int8.top_k(query_BH, wants)


def test_every_row_is_counted_once_by_the_step_that_settled_it() -> None:
    torch.manual_seed(0)
    counts = {"certified": 0, "widened": 0, "recomputed": 0}

    def count(step: str, rows: int) -> None:
        counts[step] += rows

    vectors_IH = torch.randn(5000, 16)
    vectors_IH[1000:1100] = vectors_IH[1000]  # 100 equal items: more than there are candidates
    retriever = QuantizedRetriever(vectors_IH, torch.zeros(5000), count=count)
    retriever.top_k(vectors_IH[[3, 1000]], [wanted(5, []), wanted(5, [])])
    assert counts == {"certified": 1, "widened": 1, "recomputed": 0}
    constant = QuantizedRetriever(torch.ones(5000, 16), torch.zeros(5000), count=count)
    (top,) = constant.top_k(torch.ones(1, 16), [wanted(5, [1])])
    assert top.item_index_K.tolist() == [0, 2, 3, 4, 5]
    assert counts == {"certified": 1, "widened": 1, "recomputed": 1}


def test_vectors_and_queries_of_zeros_leave_the_bias() -> None:
    vectors_IH = torch.zeros(200, 8)
    bias_I = torch.arange(200.0)
    (top,) = QuantizedRetriever(vectors_IH, bias_I).top_k(torch.zeros(1, 8), [wanted(3, [198])])
    assert top.item_index_K.tolist() == [199, 197, 196]
    assert top.score_K.tolist() == [199, 197, 196]


def test_the_integer_product_is_exact_at_its_extremes() -> None:
    largest = largest_weight()
    generator = torch.Generator().manual_seed(0)
    sign_IH = torch.randint(0, 2, (70, 130), generator=generator) * 2.0 - 1
    query_BH = torch.randint(0, 2, (5, 130), generator=generator) * 2.0 - 1
    items = QuantizedItems.of(sign_IH, largest)
    assert np.abs(items.weight_HI).min() == largest
    found = IntegerSearch(items, sign_IH, torch.zeros(70), threads=1)(query_BH, NOTHING, count=1)
    # Nothing was lost in rounding to integers, so the bound is the product itself.
    torch.testing.assert_close(found.bound_BI, query_BH @ sign_IH.T, rtol=1e-4, atol=1e-3)


def test_rounding_some_items_at_a_time_rounds_each_as_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors_IH = torch.randn(50, 12, generator=torch.Generator().manual_seed(0))
    at_once = QuantizedItems.of(vectors_IH, 127)
    monkeypatch.setattr(integer_search, "ROUNDED_AT_A_TIME", 16)
    in_parts = QuantizedItems.of(vectors_IH, 127)
    assert in_parts.weight_HI.tobytes() == at_once.weight_HI.tobytes()
    assert in_parts.scale_I.tobytes() == at_once.scale_I.tobytes()
    assert in_parts.weight_norm == at_once.weight_norm
    assert in_parts.left_norm == at_once.left_norm
    rounded_IH = at_once.weight_HI.T * at_once.scale_I[:, None]
    error_I = np.linalg.norm(vectors_IH.numpy() - rounded_IH, axis=1) / at_once.scale_I
    assert error_I.max() == pytest.approx(at_once.left_norm, rel=1e-4)


@pytest.mark.parametrize("num_items", [5, 40, 1000, 1029])
def test_a_search_finds_the_largest_bounds_and_their_true_scores(num_items: int) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors_IH = torch.randn(num_items, 16, generator=generator)
    bias_I = torch.randn(num_items, generator=generator)
    query_BH = torch.randn(3, 16, generator=generator)
    hidden_N = np.array([0, 3, num_items + 1, 2 * num_items + 2])
    search = IntegerSearch(QuantizedItems.of(vectors_IH, 127), vectors_IH, bias_I, threads=1)
    count = min(4, search.most_candidates)
    found = search(query_BH, hidden_N, count)
    assert found.bound_BI.isinf().nonzero().tolist() == [[0, 0], [0, 3], [1, 1], [2, 2]]
    expected_BC = found.bound_BI.topk(count, dim=1).values
    assert torch.equal(found.bound_BC.sort(dim=1, descending=True).values, expected_BC)
    assert torch.equal(found.bound_BI.gather(1, found.item_BC), found.bound_BC)
    score_BI = query_BH.double() @ vectors_IH.double().T + bias_I
    torch.testing.assert_close(found.score_BC, score_BI.gather(1, found.item_BC))


def test_a_processor_that_clips_sums_gets_smaller_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clipping:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def __call__(self, *_: object, **__: object) -> Found:
            stored = 32 * (2**15 - 1) - 128 * 64 * 127  # 32 clipped pairs, less the zero point
            clipped = torch.full((1, 64), stored / 127**2)
            return Found(clipped, clipped, clipped, clipped)

    monkeypatch.setattr(integer_search, "IntegerSearch", Clipping)
    assert largest_weight() == 63


def test_norms_beyond_float32_are_proven_too() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors_IH = torch.randn(3000, 64, generator=generator) * 1e-30
    query_BH = torch.randn(4, 64, generator=generator) * 1e20
    bias_I = torch.zeros(3000)
    wanted = [Wanted(20, np.empty(0, dtype=np.int64))] * 4
    found = QuantizedRetriever(vectors_IH, bias_I).top_k(query_BH, wanted)
    score_BI = query_BH.double() @ vectors_IH.double().T
    for top, score_I in zip(found, score_BI, strict=True):
        expected_I = score_I.float().sort(descending=True, stable=True).indices[:20]
        assert top.item_index_K.tolist() == expected_I.tolist()
