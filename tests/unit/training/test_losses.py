"""The sparse, chunked losses equal the dense textbook, in value and in gradient."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from service.autoencoders.base import Autoencoder
from service.checkpoint import build_model
from service.histories import History, HistoryBatch
from training import catalogue_sum
from training.losses import LOSSES, Loss, squared

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


def textbook_squared(score_BI: Tensor, x_BI: Tensor, unobserved_weight: float = 1.0) -> Tensor:
    binary_BI = (x_BI > 0).double()
    weight_BI = torch.where(x_BI > 0, 1.0, unobserved_weight)
    return (weight_BI * (score_BI - binary_BI).square()).sum(dim=1)


TEXTBOOK: dict[str, TextbookLoss] = {
    "multinomial": textbook_multinomial,
    "logistic": textbook_logistic,
    "squared": textbook_squared,
}
HISTORIES = st.lists(
    st.dictionaries(st.integers(0, NUM_ITEMS - 1), st.floats(0.1, 10)), min_size=1, max_size=5
)


@pytest.mark.parametrize("items", [30, NUM_ITEMS, NUM_ITEMS - 1, 7, 1])
@pytest.mark.parametrize(("name", "textbook"), TEXTBOOK.items())
def test_any_number_of_items_at_a_time_gives_the_textbook_value_and_gradient(
    model: Autoencoder,
    name: str,
    textbook: TextbookLoss,
    items: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogue_sum, "MAX_SCORES", items * len(targets()))
    assert_equal(model, targets(), 0, (LOSSES[name], textbook))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the model never changes
@given(HISTORIES, st.sampled_from(sorted(TEXTBOOK)), st.integers(0, 999))
def test_any_histories_give_the_textbook_value_and_gradient(
    model: Autoencoder, histories: list[dict[int, float]], name: str, seed: int
) -> None:
    batch = HistoryBatch.from_rows([History.of(list(h), list(h.values())) for h in histories])
    assert_equal(model, batch, seed, (LOSSES[name], TEXTBOOK[name]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the model never changes
@given(HISTORIES, st.sampled_from([0.0, 0.05, 1.0, 3.0]), st.integers(0, 999))
def test_absent_items_count_as_much_in_the_squared_loss_as_they_are_told_to(
    model: Autoencoder, histories: list[dict[int, float]], weight: float, seed: int
) -> None:
    batch = HistoryBatch.from_rows([History.of(list(h), list(h.values())) for h in histories])
    found = partial(squared, unobserved_weight=weight)
    assert_equal(model, batch, seed, (found, partial(textbook_squared, unobserved_weight=weight)))


def test_the_closed_form_of_the_squares_holds_in_single_precision_on_a_long_catalogue() -> None:
    """Scores near the history's make the sum a small difference of large ones."""
    torch.manual_seed(0)
    model = build_model("cdae", {"latent_dim": 64}, 5000, 0)
    batch = HistoryBatch.from_rows([History.of(range(start, 5000, 25)) for start in range(4)])
    query_BH = torch.randn(4, 64)
    found_B = squared(query_BH, model, batch)
    score_BI = query_BH.double() @ model.item_vectors_IH.T.double()
    x_BI = torch.zeros(4, 5000, dtype=torch.float64)
    x_BI[batch.row_N, batch.item_index_N] = 1
    torch.testing.assert_close(
        found_B.double(), textbook_squared(score_BI, x_BI), rtol=1e-5, atol=0
    )


def assert_equal(
    model: Autoencoder, batch: HistoryBatch, seed: int, pair: tuple[Loss, TextbookLoss]
) -> None:
    noise = torch.Generator().manual_seed(seed)
    query_BH = torch.randn(len(batch), 5, dtype=torch.float64, generator=noise)
    leaves = (query_BH.requires_grad_(), model.item_vectors_IH, model.item_bias_I)
    found_B = pair[0](query_BH, model, batch)
    score_BI = query_BH @ model.item_vectors_IH.T + model.item_bias_I
    expected_B = pair[1](score_BI, dense_BI(batch))
    torch.testing.assert_close(found_B, expected_B)
    found = torch.autograd.grad(found_B.mean(), leaves)
    expected = torch.autograd.grad(expected_B.mean(), leaves)
    torch.testing.assert_close(found, expected)
