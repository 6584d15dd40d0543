"""The sparse, chunked losses equal the dense textbook, in value and in gradient."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from service.autoencoders.base import Autoencoder
from service.checkpoint import build_model
from service.histories import History, HistoryBatch
from training import losses
from training.losses import LOSSES

NUM_ITEMS = 23
TextbookLoss = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture
def model() -> Autoencoder:
    torch.manual_seed(0)
    built = build_model("cdae", {"latent_dim": 5}, NUM_ITEMS, 0).double()
    torch.nn.init.normal_(built.item_bias_I)
    return built


def targets() -> HistoryBatch:
    weights = [1.0, 2.0, 0.5]
    return HistoryBatch.from_rows(
        [History.of([1, 8, 22], weights), History.of([4]), History.of([])]
    )


def dense_BI(batch: HistoryBatch) -> Tensor:
    matrix_BI = torch.zeros(len(batch), NUM_ITEMS, dtype=torch.float64)
    matrix_BI[batch.row_N, batch.item_index_N] = batch.weight_N.double()
    return matrix_BI


def textbook_multinomial(score_BI: Tensor, x_BI: Tensor) -> Tensor:
    return -(x_BI * functional.log_softmax(score_BI, dim=1)).sum(dim=1)


def textbook_logistic(score_BI: Tensor, x_BI: Tensor) -> Tensor:
    binary_BI = (x_BI > 0).double()
    return functional.binary_cross_entropy_with_logits(score_BI, binary_BI, reduction="none").sum(
        dim=1
    )


@pytest.mark.parametrize("block", [NUM_ITEMS, 7, 1])
@pytest.mark.parametrize(
    ("name", "textbook"), [("multinomial", textbook_multinomial), ("logistic", textbook_logistic)]
)
def test_any_block_size_gives_the_textbook_value_and_gradient(
    model: Autoencoder,
    name: str,
    textbook: TextbookLoss,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(losses, "ITEM_BLOCK", block)
    query_BH = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    leaves = (query_BH, model.item_vectors_IH, model.item_bias_I)
    found_B = LOSSES[name](query_BH, model, targets())
    score_BI = query_BH @ model.item_vectors_IH.T + model.item_bias_I
    expected_B = textbook(score_BI, dense_BI(targets()))
    torch.testing.assert_close(found_B, expected_B)
    found = torch.autograd.grad(found_B.mean(), leaves)
    expected = torch.autograd.grad(expected_B.mean(), leaves)
    torch.testing.assert_close(found, expected)
