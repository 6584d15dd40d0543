"""What every retriever over an item matrix promises, whatever it does to find items."""

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from service.retrieval.ann import ApproximateRetriever
from service.retrieval.base import Retriever, TopK, Wanted
from service.retrieval.exact import ExactRetriever
from service.retrieval.quantized import QuantizedRetriever

HIDDEN_DIM = 12
NUM_ITEMS = 6000
NUM_ROWS = 5


def approximate(vectors_IH: Tensor, bias_I: Tensor) -> Retriever:
    generator = torch.Generator().manual_seed(3)
    return ApproximateRetriever(
        vectors_IH, bias_I, torch.randn(40, HIDDEN_DIM, generator=generator)
    )


MAKERS: dict[str, Callable[[Tensor, Tensor], Retriever]] = {
    "exact": ExactRetriever,
    "int8": QuantizedRetriever,
    "ann": approximate,
}
PARAMETERS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name == "ann" and find_spec("faiss") is None,
            reason="no faiss: pip install 'foldin[ann]'",
        ),
    )
    for name in MAKERS
]


def catalogue() -> tuple[Tensor, Tensor]:
    """Items in pairs of equals: ties are the rule."""
    generator = torch.Generator().manual_seed(0)
    vectors_IH = torch.randn(NUM_ITEMS // 2, HIDDEN_DIM, generator=generator).repeat(2, 1)
    bias_I = torch.randn(NUM_ITEMS // 2, generator=generator).repeat(2)
    return vectors_IH, bias_I


@pytest.fixture(scope="module", params=PARAMETERS)
def retriever(request: pytest.FixtureRequest) -> Retriever:
    return MAKERS[request.param](*catalogue())


def queries() -> Tensor:
    return torch.randn(NUM_ROWS, HIDDEN_DIM, generator=torch.Generator().manual_seed(1))


@st.composite
def wishes(draw: st.DrawFn) -> Wanted:
    """From nothing hidden to all but a handful, hidden items twice now and then."""
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    num_hidden = draw(st.sampled_from([0, 1, 30, 200, 3000, NUM_ITEMS - 5, NUM_ITEMS]))
    hidden_N = generator.choice(NUM_ITEMS, num_hidden, replace=False)
    k = draw(st.sampled_from([1, 2, 20, 100, 700, NUM_ITEMS + 3]))
    share = draw(st.sampled_from([None, 0.0, 0.001, 0.1, 0.9, 1.0]))
    shown_I = None if share is None else generator.random(NUM_ITEMS) < share
    return Wanted(k, np.concatenate([hidden_N, hidden_N[:3]]), shown_I)


BATCHES = st.lists(wishes(), min_size=1, max_size=NUM_ROWS)


def assert_kept(top: TopK, want: Wanted, score_I: Tensor) -> None:
    eligible = np.ones(NUM_ITEMS, dtype=bool) if want.shown_I is None else want.shown_I.copy()
    eligible[want.hidden_item_index] = False
    num_eligible = np.count_nonzero(eligible)
    items = top.item_index_K.tolist()
    assert len(items) == len(set(items)) == min(want.k, num_eligible)
    assert eligible[items].all()
    assert top.item_index_K.dtype == np.int64
    assert top.score_K.dtype == np.float32
    # The score is the item's own, rounded once; equal ones stand in the order of their index.
    np.testing.assert_allclose(top.score_K, score_I.numpy()[top.item_index_K], rtol=1e-6, atol=1e-9)
    ranks = list(zip(-top.score_K, top.item_index_K, strict=True))
    assert ranks == sorted(ranks)


@settings(max_examples=40)
@given(wants=BATCHES)
def test_lists_are_full_ordered_and_hold_nothing_hidden(
    retriever: Retriever, wants: list[Wanted]
) -> None:
    vectors_IH, bias_I = catalogue()
    query_BH = queries()[: len(wants)]
    score_BI = query_BH.double() @ vectors_IH.double().T + bias_I
    for top, want, score_I in zip(retriever.top_k(query_BH, wants), wants, score_BI, strict=True):
        assert_kept(top, want, score_I)


@settings(max_examples=25)
@given(wants=BATCHES)
def test_a_row_gets_the_same_list_in_any_company(retriever: Retriever, wants: list[Wanted]) -> None:
    query_BH = queries()
    together = retriever.top_k(query_BH[: len(wants)], wants)
    for row, (want, expected) in enumerate(zip(wants, together, strict=True)):
        (alone,) = retriever.top_k(query_BH[row : row + 1], [want])
        assert alone.item_index_K.tolist() == expected.item_index_K.tolist()
        assert alone.score_K.tobytes() == expected.score_K.tobytes()


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_catalogue_of_equal_items_lists_the_smallest_indices(name: str) -> None:
    vectors_IH, bias_I = torch.ones(300, HIDDEN_DIM), torch.zeros(300)
    found = MAKERS[name](vectors_IH, bias_I)
    (top,) = found.top_k(torch.ones(1, HIDDEN_DIM), [Wanted(4, np.array([0, 2]))])
    assert top.item_index_K.tolist() == [1, 3, 4, 5]
