import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from service.errors import SettingsError
from service.retrieval import ann
from service.retrieval.ann import ApproximateRetriever, drawn_histories
from service.retrieval.base import TopK, Wanted
from service.retrieval.exact import ExactRetriever
from service.retrieval.inverted_lists import InvertedLists

pytest.importorskip("faiss", reason="no faiss: pip install 'foldin[ann]'")

HIDDEN_DIM = 80
NOTHING = np.empty(0, dtype=np.int64)


def structured(num_items: int, num_queries: int = 96) -> tuple[Tensor, Tensor, Tensor]:
    """Items and queries that mix few interests, as trained ones do; popularity in the bias."""
    generator = torch.Generator().manual_seed(0)
    interests_CH = torch.randn(20, HIDDEN_DIM, generator=generator)
    share_IC = torch.randn(num_items, 20, generator=generator)
    noise_IH = 0.1 * torch.randn(num_items, HIDDEN_DIM, generator=generator)
    bias_I = torch.randn(num_items, generator=generator)
    share_SC = torch.randn(num_queries, 20, generator=generator)
    query_SH = torch.tanh(0.3 * share_SC @ interests_CH)
    return 0.2 * share_IC @ interests_CH + noise_IH, bias_I, query_SH


def recall(found: list[TopK], best: list[TopK]) -> float:
    pairs = zip(found, best, strict=True)
    hits = [np.isin(top.item_index_K, other.item_index_K).mean() for top, other in pairs]
    return float(np.mean(hits))


@pytest.fixture(scope="module")
def parts() -> tuple[Tensor, Tensor, Tensor]:
    return structured(20_000)


@pytest.fixture(scope="module")
def retriever(parts: tuple[Tensor, Tensor, Tensor]) -> ApproximateRetriever:
    vectors_IH, bias_I, query_SH = parts
    return ApproximateRetriever(vectors_IH, bias_I, query_SH[:64])


def test_it_finds_nearly_all_of_the_exact_lists_of_new_queries_in_a_part_of_the_lists(
    parts: tuple[Tensor, Tensor, Tensor], retriever: ApproximateRetriever
) -> None:
    vectors_IH, bias_I, query_SH = parts
    generator = np.random.default_rng(5)
    wants = [Wanted(20, generator.choice(20_000, 50, replace=False)) for _ in range(32)]
    best = ExactRetriever(vectors_IH, bias_I).top_k(query_SH[64:], wants)
    assert retriever.name == "ann"
    assert retriever.probes < retriever._lists.num_lists
    assert retriever.measured_recall >= 0.99
    assert recall(retriever.top_k(query_SH[64:], wants), best) >= 0.98


def test_few_probes_are_measured_as_they_are(
    parts: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors_IH, bias_I, query_SH = parts
    monkeypatch.setattr(ann, "FIRST_PROBES", 1)
    monkeypatch.setattr(ann, "TARGET_RECALL", 0.0)
    careless = ApproximateRetriever(vectors_IH, bias_I, query_SH)
    assert careless.probes == 1
    wants = [Wanted(100, NOTHING)] * 48
    best = ExactRetriever(vectors_IH, bias_I).top_k(query_SH[1::2], wants)
    expected = recall(careless.top_k(query_SH[1::2], wants), best)
    assert careless.measured_recall == pytest.approx(expected)
    assert careless.measured_recall < 0.9


def test_probing_more_stops_where_it_finds_no_more(
    parts: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors_IH, bias_I, query_SH = parts
    monkeypatch.setattr(ann, "TARGET_RECALL", 2.0)
    eager = ApproximateRetriever(vectors_IH, bias_I, query_SH)
    assert eager.probes < eager._lists.num_lists
    assert eager.measured_recall >= 0.99


def diffuse(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors without any structure: what the index finds hangs on all that it does."""
    generator = torch.Generator().manual_seed(seed)
    vectors_IH = torch.randn(8000, 160, generator=generator)
    return vectors_IH, torch.zeros(8000), torch.randn(40, 160, generator=generator)


def assert_same(found: TopK, expected: TopK) -> None:
    assert found.item_index_K.tobytes() == expected.item_index_K.tobytes()
    assert found.score_K.tobytes() == expected.score_K.tobytes()


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> ApproximateRetriever:
    """Some lists a query, and no care for what it misses."""
    monkeypatch.setattr(ann, "FIRST_PROBES", 20)
    monkeypatch.setattr(ann, "TARGET_RECALL", 0.0)
    return ApproximateRetriever(*diffuse(0))


def test_two_builds_of_one_seed_answer_bit_for_bit_the_same(
    careless: ApproximateRetriever,
) -> None:
    vectors_IH, bias_I, query_SH = diffuse(0)
    wants = [Wanted(50, NOTHING)] * 40
    tops = careless.top_k(query_SH, wants)
    again = ApproximateRetriever(vectors_IH, bias_I, query_SH)
    assert again.measured_recall == careless.measured_recall
    for found, expected in zip(again.top_k(query_SH, wants), tops, strict=True):
        assert_same(found, expected)
    other = ApproximateRetriever(vectors_IH, bias_I, query_SH, seed=1)
    assert other.measured_recall != careless.measured_recall


def test_a_row_is_found_in_the_same_items_in_any_company(careless: ApproximateRetriever) -> None:
    _, _, query_SH = diffuse(0)
    generator = np.random.default_rng(0)
    wants = [
        Wanted(k, generator.choice(8000, num_hidden, replace=False))
        for k in (1, 20, 30, 100)
        for num_hidden in (0, 50, 200)
    ]
    together = careless.top_k(query_SH[: len(wants)], wants)
    for row, (want, expected) in enumerate(zip(wants, together, strict=True)):
        (alone,) = careless.top_k(query_SH[row : row + 1], [want])
        assert_same(alone, expected)


def test_the_index_is_asked_for_more_than_what_is_hidden(careless: ApproximateRetriever) -> None:
    assert careless._depth(Wanted(1, NOTHING)) > 1
    assert careless._depth(Wanted(1, np.arange(300).repeat(2))) in range(301, 600)


def test_with_all_lists_scanned_and_no_dimension_cut_the_best_items_come_first() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors_IH, bias_I = (
        torch.randn(3000, 12, generator=generator),
        3 * torch.randn(3000, generator=generator),
    )
    query_BH = torch.randn(20, 12, generator=generator)
    lists = InvertedLists(vectors_IH, bias_I, query_BH)
    found_BC = lists.candidates(query_BH, 50, lists.num_lists)
    best = ExactRetriever(vectors_IH, bias_I).top_k(query_BH, [Wanted(50, NOTHING)] * 20)
    for found_C, top in zip(found_BC, best, strict=True):
        assert found_C.tolist() == top.item_index_K.tolist()


def test_a_narrow_filter_is_answered_exactly(
    parts: tuple[Tensor, Tensor, Tensor], retriever: ApproximateRetriever
) -> None:
    vectors_IH, bias_I, query_SH = parts
    wants = [
        Wanted(20, np.delete(np.arange(20_000), np.arange(row, 20_000, 500))) for row in [0, 7]
    ]
    best = ExactRetriever(vectors_IH, bias_I).top_k(query_SH[:2], wants)
    for top, other in zip(retriever.top_k(query_SH[:2], wants), best, strict=True):
        assert top.item_index_K.tolist() == other.item_index_K.tolist()


def test_a_row_that_the_index_has_too_few_for_is_answered_exactly(
    parts: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One list holds some 140 items: the nearest ones hidden, hardly any are left in it."""
    vectors_IH, bias_I, query_SH = parts
    monkeypatch.setattr(ann, "FIRST_PROBES", 1)
    monkeypatch.setattr(ann, "TARGET_RECALL", 0.0)
    careless = ApproximateRetriever(vectors_IH, bias_I, query_SH)
    exact = ExactRetriever(vectors_IH, bias_I)
    scanned_N = careless._lists.candidates(query_SH[:1], 1000, probes=1)[0]
    want = Wanted(20, scanned_N[scanned_N >= 0][:-3])
    (top,), (best,) = careless.top_k(query_SH[:1], [want]), exact.top_k(query_SH[:1], [want])
    assert careless._is_shallow(careless._depth(want))
    assert top.item_index_K.tolist() == best.item_index_K.tolist()


def test_a_small_catalogue_needs_no_index() -> None:
    vectors_IH, bias_I, query_SH = structured(50)
    found = ApproximateRetriever(vectors_IH, bias_I, query_SH[:2])
    wants = [Wanted(60, NOTHING)] * 96
    best = ExactRetriever(vectors_IH, bias_I).top_k(query_SH, wants)
    assert found.measured_recall == 1.0
    for top, other in zip(found.top_k(query_SH, wants), best, strict=True):
        assert top.item_index_K.tolist() == other.item_index_K.tolist()


def test_one_query_cannot_both_shape_and_measure() -> None:
    vectors_IH, bias_I, query_SH = structured(50)
    with pytest.raises(ValueError, match="two queries"):
        ApproximateRetriever(vectors_IH, bias_I, query_SH[:1])


def test_without_the_package_it_says_which_extra_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(SettingsError, match=r"FOLDIN_RETRIEVAL=ann .* pip install 'foldin\[ann\]'"):
        ApproximateRetriever(*structured(50))


@pytest.mark.parametrize("num_items", [1, 30, 5000])
def test_drawn_histories_are_of_all_lengths_and_of_the_seed(num_items: int) -> None:
    drawn = drawn_histories(num_items, np.random.default_rng(0))
    again = drawn_histories(num_items, np.random.default_rng(0))
    lengths = [len(history) for history in drawn]
    assert min(lengths) == 1
    assert min(num_items, 200) / 2 <= max(lengths) <= min(num_items, 200)
    assert max(history.item_index_N.max() for history in drawn) < num_items
    for first, second in zip(drawn, again, strict=True):
        assert first.item_index_N.tolist() == second.item_index_N.tolist()
