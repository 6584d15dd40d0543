"""ELSA against the paper's formulas, written out over dense rows."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from service.autoencoders.elsa import Elsa, ElsaConfig
from service.histories import History, HistoryBatch
from service.ranker import retriever_for

NUM_ITEMS = 17
HISTORIES = st.lists(
    st.dictionaries(st.integers(0, NUM_ITEMS - 1), st.floats(0.1, 10), min_size=1),
    min_size=1,
    max_size=5,
)


def model(dropout: float = 0.0) -> Elsa:
    torch.manual_seed(3)
    return Elsa(ElsaConfig(latent_dim=5, dropout=dropout), NUM_ITEMS).double()


def batch_of(entries: list[dict[int, float]]) -> HistoryBatch:
    batch = HistoryBatch.from_rows([History.of(list(e), list(e.values())) for e in entries])
    return batch.with_weights(batch.weight_N.double())


def dense(batch: HistoryBatch) -> Tensor:
    rows_BI = batch.weight_N.new_zeros(len(batch), NUM_ITEMS)
    return rows_BI.index_put((batch.row_N, batch.item_index_N), batch.weight_N)


def textbook_loss(raw_IH: Tensor, visible_BI: Tensor, target_BI: Tensor) -> Tensor:
    vectors_IH = functional.normalize(raw_IH, dim=1)
    x_BI = functional.normalize(visible_BI, dim=1)
    score_BI = x_BI @ vectors_IH @ vectors_IH.T - x_BI
    apart_BI = functional.normalize(score_BI, dim=1) - functional.normalize(target_BI, dim=1)
    return apart_BI.square().sum(dim=1)


def assert_loss_and_gradient(found_B: Tensor, expected_B: Tensor, raw_IH: Tensor) -> None:
    torch.testing.assert_close(found_B, expected_B)
    (found_IH,) = torch.autograd.grad(found_B.sum(), raw_IH)
    (expected_IH,) = torch.autograd.grad(expected_B.sum(), raw_IH)
    torch.testing.assert_close(found_IH, expected_IH)


@given(HISTORIES)
def test_loss_and_gradient_are_those_of_the_paper(entries: list[dict[int, float]]) -> None:
    elsa, batch = model(), batch_of(entries)
    noisy = elsa.training_pass(batch, torch.Generator())
    assert noisy.loss_B is not None
    expected_B = textbook_loss(elsa.item_vectors_IH, dense(batch), dense(batch))
    assert_loss_and_gradient(noisy.loss_B, expected_B, elsa.item_vectors_IH)


def test_a_denoising_pass_is_measured_against_the_whole_history() -> None:
    elsa = model(dropout=0.5)
    batch = batch_of([{item: 1.0 + item for item in range(0, NUM_ITEMS, 2)}] * 3)
    noisy = elsa.training_pass(batch, torch.Generator().manual_seed(1))
    kept_N = torch.rand(len(batch.weight_N), generator=torch.Generator().manual_seed(1)) >= 0.5
    visible = batch.with_weights(batch.weight_N * kept_N)
    expected_B = textbook_loss(elsa.item_vectors_IH, dense(visible), dense(batch))
    assert noisy.loss_B is not None
    assert_loss_and_gradient(noisy.loss_B, expected_B, elsa.item_vectors_IH)


def test_a_history_that_is_hidden_whole_has_no_gradient_and_a_finite_loss() -> None:
    elsa = model(dropout=0.999)
    noisy = elsa.training_pass(batch_of([{3: 1.0, 4: 1.0}]), torch.Generator().manual_seed(0))
    assert noisy.loss_B is not None
    assert noisy.loss_B.tolist() == [2.0]
    (gradient_IH,) = torch.autograd.grad(noisy.loss_B.sum(), elsa.item_vectors_IH)
    assert not gradient_IH.any()


def test_the_end_of_training_puts_the_items_back_on_the_unit_sphere() -> None:
    elsa = model().train()
    elsa.training_pass(batch_of([{1: 1.0, 2: 1.0}]), torch.Generator())
    elsa.eval()
    length_I = elsa.item_vectors_IH.norm(dim=1)
    torch.testing.assert_close(length_I, torch.ones_like(length_I))


def test_what_was_not_trained_here_is_served_as_it_is() -> None:
    elsa = model()
    before = elsa.item_vectors_IH.clone()
    assert torch.equal(elsa.freeze().item_vectors_IH, before)


@given(HISTORIES)
def test_a_query_is_the_normalised_history_times_the_item_matrix(
    entries: list[dict[int, float]],
) -> None:
    elsa, batch = model(), batch_of(entries)
    query_BH = elsa.queries(elsa.encode(batch))
    expected_BH = functional.normalize(dense(batch), dim=1) @ elsa.item_vectors_IH
    torch.testing.assert_close(query_BH, expected_BH)


def test_a_low_rank_model_keeps_latents_and_is_searched_like_any_other() -> None:
    elsa = model()
    assert not elsa.keeps_history
    assert elsa.latent_dim == elsa.item_vectors_IH.shape[1] == 5
    assert retriever_for(elsa).name == "exact"


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_what_answers_leave_out_touches_the_items_of_the_history_only(dropout: float) -> None:
    elsa, batch = model(dropout), batch_of([{2: 1.0, 5: 2.0, 11: 1.0}])
    served_BI = elsa.encode(batch) @ elsa.item_vectors_IH.T
    x_BI = functional.normalize(dense(batch), dim=1)
    trained_BI = x_BI @ elsa.item_vectors_IH @ elsa.item_vectors_IH.T - x_BI
    others = dense(batch) == 0
    torch.testing.assert_close(served_BI[others], trained_BI[others])
