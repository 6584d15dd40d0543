import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.catalog import Catalog
from service.retrieval import item_scores
from service.retrieval.base import TopK, Wanted
from service.retrieval.exact import ExactRetriever
from service.retrieval.popularity import most_popular
from service.retrieval.ranking import rank


def brute_force(score_I: list[float], want: Wanted) -> list[int]:
    hidden = set(want.hidden_item_index.tolist())
    shown = [index for index in range(len(score_I)) if index not in hidden]
    return sorted(shown, key=lambda index: (-score_I[index], index))[: want.k]


def wanted(k: int, hidden: list[int]) -> Wanted:
    return Wanted(k, np.array(hidden, dtype=np.int64))


@st.composite
def ranking_tasks(draw: st.DrawFn) -> tuple[list[list[float]], list[Wanted]]:
    num_items = draw(st.integers(1, 12))
    # Few distinct scores: ties are the rule here and not the exception.
    score = st.lists(st.sampled_from([-2.0, 0.0, 0.5, 3.0]), min_size=num_items, max_size=num_items)
    score_BI = draw(st.lists(score, min_size=1, max_size=4))
    hidden = st.lists(st.integers(0, num_items - 1), max_size=num_items + 2)
    wants = [wanted(draw(st.integers(1, num_items + 3)), draw(hidden)) for _ in score_BI]
    return score_BI, wants


@given(ranking_tasks())
def test_lists_equal_a_sort_by_score_and_index(
    task: tuple[list[list[float]], list[Wanted]],
) -> None:
    score_BI, wants = task
    tops = rank(torch.tensor(score_BI), wants)
    for score_I, want, top in zip(score_BI, wants, tops, strict=True):
        assert top.item_index_K.tolist() == brute_force(score_I, want)
        assert top.score_K.tolist() == [score_I[index] for index in top.item_index_K]


def test_a_constant_score_lists_the_smallest_indices() -> None:
    (top,) = rank(torch.zeros(1, 1000), [wanted(5, [0, 2])])
    assert top.item_index_K.tolist() == [1, 3, 4, 5, 6]


def test_rows_with_other_k_and_hidden_items_do_not_disturb_each_other() -> None:
    torch.manual_seed(0)
    score_BI = torch.randn(8, 50)
    wants = [wanted(3 + row, list(range(row))) for row in range(8)]
    together = rank(score_BI.clone(), wants)
    for row in range(8):
        (alone,) = rank(score_BI[row : row + 1].clone(), [wants[row]])
        assert alone.item_index_K.tolist() == together[row].item_index_K.tolist()


def test_everything_hidden_gives_an_empty_list() -> None:
    (top,) = rank(torch.zeros(1, 3), [wanted(2, [0, 1, 2])])
    assert len(top.item_index_K) == len(top.score_K) == 0


def test_the_score_is_the_product_with_the_item_matrix_plus_bias() -> None:
    vectors_IH = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    retriever = ExactRetriever(vectors_IH, torch.tensor([0.0, 0.5, -1.0]))
    tops: list[TopK] = retriever.top_k(torch.tensor([[3.0, 1.0]]), [wanted(3, [])])
    assert tops[0].item_index_K.tolist() == [0, 2, 1]
    assert tops[0].score_K.tolist() == [3.0, 3.0, 2.5]
    assert retriever.name == "exact"


@given(st.integers(0, 10_000), st.integers(1, 60), st.booleans())
def test_near_ties_and_ties_across_the_cut_come_out_as_float64_ranks_them(
    seed: int, k: int, duplicated: bool
) -> None:
    """Vectors that differ by less than float32 rounding, or not at all: the hardest rows."""
    generator = torch.Generator().manual_seed(seed)
    vectors_IH = torch.randn(1, 16, generator=generator).repeat(200, 1)
    if not duplicated:
        vectors_IH += 1e-6 * torch.randn(200, 16, generator=generator)
    bias_I = torch.zeros(200)
    query_BH = torch.randn(3, 16, generator=generator)
    score_BI = (query_BH.double() @ vectors_IH.double().T).float()
    # Once with fewer candidates than items, so that the proof counts, and once with all of them.
    for deepest in (k, 200):
        wants = [wanted(k, [5, 7]), wanted(1, []), wanted(deepest, list(range(0, 200, 3)))]
        tops = ExactRetriever(vectors_IH, bias_I).top_k(query_BH, wants)
        for want, top, score_I in zip(wants, tops, score_BI, strict=True):
            assert top.item_index_K.tolist() == brute_force(score_I.tolist(), want)


def test_a_row_alone_is_bit_for_bit_the_row_in_a_batch() -> None:
    torch.manual_seed(0)
    retriever = ExactRetriever(torch.randn(3000, 64), torch.randn(3000))
    query_BH = torch.randn(40, 64)
    wants = [wanted(1 + 5 * row, list(range(row))) for row in range(40)]
    for row, together in enumerate(retriever.top_k(query_BH, wants)):
        (alone,) = retriever.top_k(query_BH[row : row + 1], wants[row : row + 1])
        assert together.item_index_K.tolist() == alone.item_index_K.tolist()
        assert together.score_K.tolist() == alone.score_K.tolist()


@pytest.mark.parametrize("gathered", [1, 8 * 4, 10**6])
def test_both_ways_to_gather_vectors_give_the_same_scores(
    monkeypatch: pytest.MonkeyPatch, gathered: int
) -> None:
    """Row by row on a CPU; on a GPU all at once, in blocks that fit."""
    monkeypatch.setattr(item_scores, "GATHERED_NUMBERS", gathered)
    torch.manual_seed(0)
    vectors_IH, query_BH = torch.randn(50, 8), torch.randn(5, 8, dtype=torch.float64)
    item_BC = torch.randint(0, 50, (5, 4))
    expected_BC = (query_BH @ vectors_IH.double().T).gather(1, item_BC)
    for gather in (item_scores.row_by_row, item_scores.all_at_once):
        torch.testing.assert_close(gather(vectors_IH, query_BH, item_BC), expected_BC)


@pytest.mark.parametrize("at_a_time", [7, 50, 1_024])
def test_scores_and_norms_of_all_items_are_those_of_one_product(
    at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_scores, "DOUBLED_AT_A_TIME", at_a_time)
    torch.manual_seed(0)
    vectors_IH, bias_I, query_H = torch.randn(50, 8), torch.randn(50), torch.randn(8)
    scores = item_scores.ItemScores(vectors_IH, bias_I)
    expected_I = vectors_IH.double() @ query_H.double() + bias_I
    torch.testing.assert_close(scores.of_all(query_H), expected_I)
    reach_B = query_H.double().norm() * vectors_IH.double().norm(dim=1).max() + bias_I.abs().max()
    torch.testing.assert_close(scores.reach_B(query_H[None])[0], reach_B)


def test_the_popular_list_skips_what_is_hidden() -> None:
    catalog = Catalog(("a", "b", "c"), ("", "", ""), ((), (), ()), np.array([2, 7, 2]))
    top = most_popular(catalog, wanted(5, [1]))
    assert top.item_index_K.tolist() == [0, 2]
    assert top.score_K.tolist() == [2, 2]
    assert most_popular(catalog, wanted(1, [])).item_index_K.tolist() == [1]


@given(
    popularity=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    hidden=st.sets(st.integers(0, 39)),
    filtered=st.none() | st.sets(st.integers(0, 39)),
    k=st.integers(1, 50),
)
def test_the_popular_list_is_the_head_of_the_whole_order_however_much_is_hidden(
    popularity: list[int], hidden: set[int], filtered: set[int] | None, k: int
) -> None:
    items = range(len(popularity))
    blank = ("",) * len(popularity)
    catalog = Catalog(tuple(map(str, items)), blank, ((),) * len(popularity), np.array(popularity))
    shown_I = None if filtered is None else np.array([item in filtered for item in items])
    hidden_N = np.array([item for item in hidden if item in items], dtype=np.int64)
    top = most_popular(catalog, Wanted(k, hidden_N, shown_I))
    order = sorted(items, key=lambda item: (-popularity[item], item))
    eligible = [i for i in order if i not in hidden and (filtered is None or i in filtered)]
    assert top.item_index_K.tolist() == eligible[:k]
    assert top.score_K.tolist() == [popularity[item] for item in eligible[:k]]
