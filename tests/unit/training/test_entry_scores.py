"""Scores of single entries equal a plain gather, in value and in gradient."""

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from service.autoencoders.base import Autoencoder
from service.checkpoint import build_model
from service.histories import History, HistoryBatch
from training.entry_scores import entry_scores

NUM_ITEMS = 12
HISTORIES = st.lists(st.sets(st.integers(0, NUM_ITEMS - 1)), min_size=1, max_size=4)


def built() -> Autoencoder:
    torch.manual_seed(0)
    model = build_model("cdae", {"latent_dim": 3}, NUM_ITEMS, 0).double()
    torch.nn.init.normal_(model.item_bias_I)
    return model


@given(HISTORIES, st.integers(0, 99))
def test_value_and_gradient_are_those_of_a_gather(histories: list[set[int]], seed: int) -> None:
    model = built()
    batch = HistoryBatch.from_rows([History.of(sorted(history)) for history in histories])
    noise: dict[str, Any] = {
        "dtype": torch.float64,
        "generator": torch.Generator().manual_seed(seed),
    }
    query_BH = torch.randn(len(batch), 3, **noise).requires_grad_()
    leaves = (query_BH, model.item_vectors_IH, model.item_bias_I)
    row_N, item_N = batch.row_N, batch.item_index_N
    expected_N = (query_BH[row_N] * model.item_vectors_IH[item_N]).sum(1)
    expected_N = expected_N + model.item_bias_I[item_N]
    found_N = entry_scores(query_BH, model, batch)
    torch.testing.assert_close(found_N, expected_N)
    probe_N = torch.randn(len(item_N), **noise)
    found = torch.autograd.grad(found_N, leaves, probe_N)
    torch.testing.assert_close(found, torch.autograd.grad(expected_N, leaves, probe_N))


def test_no_vector_is_kept_for_an_entry() -> None:
    """The tensors kept for the backward pass are no longer than the tables and the entries."""
    model = built()
    batch = HistoryBatch.from_rows([History.of(range(NUM_ITEMS))] * 50)
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    query_BH = torch.randn(50, 3, dtype=torch.float64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        entry_scores(query_BH, model, batch)
    assert kept
    assert max(kept) <= len(batch.item_index_N)
