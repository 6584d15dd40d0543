import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.autoencoders.layers import (
    ACTIVATIONS,
    Activation,
    SparseLinear,
    activated_stack,
    dropped,
    hidden_dropout,
    normalized,
)
from service.histories import History, HistoryBatch

NUM_ITEMS = 15
HISTORIES = st.lists(st.sets(st.integers(0, NUM_ITEMS - 1)), min_size=1, max_size=5)


def as_batch(histories: list[set[int]]) -> HistoryBatch:
    return HistoryBatch.from_rows([History.of(sorted(history)) for history in histories])


def dense(batch: HistoryBatch) -> torch.Tensor:
    matrix_BI = torch.zeros(len(batch), NUM_ITEMS)
    matrix_BI[batch.row_N, batch.item_index_N] = batch.weight_N
    return matrix_BI


@given(HISTORIES)
def test_the_sparse_layer_equals_the_dense_one_in_value_and_gradient(
    histories: list[set[int]],
) -> None:
    torch.manual_seed(0)
    layer = SparseLinear(NUM_ITEMS, 4)
    batch = as_batch(histories)
    sparse_BH = layer(batch)
    dense_BH = dense(batch) @ layer.weight_IH + layer.bias_H
    torch.testing.assert_close(sparse_BH, dense_BH)
    probe_BH = torch.randn_like(dense_BH)
    (from_sparse,) = torch.autograd.grad((sparse_BH * probe_BH).sum(), layer.weight_IH)
    (from_dense,) = torch.autograd.grad((dense_BH * probe_BH).sum(), layer.weight_IH)
    torch.testing.assert_close(from_sparse, from_dense)


@given(HISTORIES)
def test_a_normalized_history_has_norm_one_or_none(histories: list[set[int]]) -> None:
    batch = normalized(as_batch(histories))
    norm_B = dense(batch).norm(dim=1)
    for norm, history in zip(norm_B.tolist(), histories, strict=True):
        assert norm == pytest.approx(1.0 if history else 0.0, abs=1e-6)


def test_dropout_keeps_the_expected_input() -> None:
    batch = HistoryBatch.from_rows([History.of(range(10))] * 5000)
    weight_N = dropped(batch, 0.3, torch.Generator().manual_seed(0)).weight_N
    assert weight_N.mean().item() == pytest.approx(1.0, abs=0.02)
    assert (weight_N == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)


def test_no_dropout_changes_nothing() -> None:
    batch = as_batch([{1, 2}])
    assert dropped(batch, 0, torch.Generator()) is batch


def test_hidden_dropout_keeps_the_expected_layer() -> None:
    value_BD = torch.full((5000, 4), 2.0)
    after_BD = hidden_dropout(value_BD, 0.25, torch.Generator().manual_seed(0))
    assert sorted(set(after_BD.flatten().tolist())) == pytest.approx([0.0, 2 / 0.75])
    assert after_BD.mean().item() == pytest.approx(2.0, rel=0.01)
    assert hidden_dropout(value_BD, 0, torch.Generator()) is value_BD


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_stack_puts_its_activation_behind_every_layer(activation: Activation) -> None:
    stack = activated_stack((4, 3, 2), activation)
    kinds = [type(layer) for layer in stack]
    assert kinds == [torch.nn.Linear, type(ACTIVATIONS[activation]())] * 2
