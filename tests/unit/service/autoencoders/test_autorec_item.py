"""Item-based AutoRec: folding in is the ridge regression that it says it is."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from service.autoencoders.autorec_item import ANY_RIDGE, AutoRecItem, AutoRecItemConfig
from service.histories import UNKNOWN_USER, History, HistoryBatch

NUM_ITEMS = 60
DIM = 7


def built(num_users: int = 3, ridge: float | None = 2.5, dim: int = DIM) -> AutoRecItem:
    torch.manual_seed(5)
    model = AutoRecItem(AutoRecItemConfig(latent_dim=dim, ridge=ridge), NUM_ITEMS, num_users)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.freeze()


def rated(size: int, seed: int = 0) -> History:
    generator = np.random.default_rng(seed)
    item_N = generator.choice(NUM_ITEMS, size, replace=False)
    return History.of(item_N, generator.uniform(-10, 10, size))


def explicit_ridge(model: AutoRecItem, history: History, ridge: float) -> NDArray[np.float64]:
    """Solve the least squares problem with the ridge as D more examples, by QR."""
    mean_D = model.mean_row_D.double().numpy()
    code_ND = model.item_vectors_IH.double().numpy()[history.item_index_N]
    bias_N = model.item_bias_I.double().numpy()[history.item_index_N]
    residual_N = history.weight_N - bias_N - code_ND @ mean_D
    examples = np.vstack([code_ND, np.sqrt(ridge) * np.eye(len(mean_D))])
    outcomes = np.concatenate([residual_N, np.zeros(len(mean_D))])
    solution_D: NDArray[np.float64] = mean_D + np.linalg.lstsq(examples, outcomes, rcond=None)[0]
    return solution_D


@pytest.mark.parametrize("size", [1, DIM, DIM + 1, DIM + 2, 50])  # fewer ratings than D, and more
@pytest.mark.parametrize("ridge", [0.01, 2.5, 400.0])
def test_a_history_is_folded_in_by_ridge_regression(size: int, ridge: float) -> None:
    model, history = built(ridge=ridge), rated(size)
    (latent_D,) = model.encode(HistoryBatch.from_rows([history]))
    expected_D = explicit_ridge(model, history, ridge)
    np.testing.assert_allclose(latent_D.numpy(), expected_D, rtol=1e-5, atol=1e-6)


def test_what_the_ratings_are_moves_the_scores_towards_them() -> None:
    model = built(ridge=1e-3)
    history = rated(4)
    (latent_D,) = model.encode(HistoryBatch.from_rows([history]))
    score_I = latent_D @ model.item_vectors_IH.T + model.item_bias_I
    np.testing.assert_allclose(score_I[history.item_index_N], history.weight_N, atol=0.05)


def test_without_a_history_a_known_user_has_their_row_and_a_stranger_the_mean_one() -> None:
    model = built()
    batch = HistoryBatch.from_rows([rated(0), rated(0), rated(5)], [2, UNKNOWN_USER, 2])
    known_D, stranger_D, posted_D = model.encode(batch)
    assert torch.equal(known_D, model.user_rows_UD[2])
    assert torch.equal(stranger_D, model.mean_row_D)
    (unknown_D,) = model.encode(HistoryBatch.from_rows([rated(5)]))
    assert torch.equal(posted_D, unknown_D)


def test_a_model_without_users_folds_in_all_the_same() -> None:
    model = built(num_users=0, ridge=None)
    assert model.num_users == 0
    latents_BD = model.encode(HistoryBatch.from_rows([rated(0), rated(3)]))
    assert torch.equal(latents_BD[0], model.mean_row_D)
    expected_D = explicit_ridge(model, rated(3), ANY_RIDGE)
    np.testing.assert_allclose(latents_BD[1].numpy(), expected_D, rtol=1e-5, atol=1e-6)
    assert model.encode(HistoryBatch.from_rows([])).shape == (0, DIM + 1)


@pytest.mark.parametrize("dim", [7, 100])
def test_a_row_alone_is_the_row_in_a_batch_bit_for_bit(dim: int) -> None:
    model = built(dim=dim)
    histories = [rated(size, seed=size) for size in range(1, NUM_ITEMS)]
    together_BD = model.encode(HistoryBatch.from_rows(histories))
    for row, history in enumerate(histories):
        assert torch.equal(model.encode(HistoryBatch.from_rows([history]))[0], together_BD[row])
