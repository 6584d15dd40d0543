"""The loss of rating models equals the dense textbook, in value and in gradient."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from service.autoencoders.autorec_user import AutoRecUser, AutoRecUserConfig
from service.autoencoders.rating_scale import RatingScale
from service.histories import History, HistoryBatch
from training.config import TrainingConfig
from training.errors import BadInputError
from training.losses import masked_squared
from training.objective import objective

NUM_ITEMS = 8
ROWS: tuple[list[int], ...] = ([0, 3, 7], [1], [], [2, 3])
RATINGS: tuple[list[float], ...] = ([5.0, 0.0, 2.0], [4.0], [], [-1.0, 3.0])


def built() -> AutoRecUser:
    torch.manual_seed(1)
    config = AutoRecUserConfig(latent_dim=4, dropout=0, scale=RatingScale(mean=2.5))
    model = AutoRecUser(config, NUM_ITEMS).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def batch() -> HistoryBatch:
    rows = [History.of(items, ratings) for items, ratings in zip(ROWS, RATINGS, strict=True)]
    found = HistoryBatch.from_rows(rows)
    return found.with_weights(found.weight_N.double())


def textbook(model: AutoRecUser) -> torch.Tensor:
    """Sum (r - r')^2 over a mask, from dense rows to the squares: nothing of ours in between."""
    rating_BI = torch.zeros(len(ROWS), NUM_ITEMS, dtype=torch.float64)
    mask_BI = torch.zeros(len(ROWS), NUM_ITEMS, dtype=torch.float64)
    for row, (items, ratings) in enumerate(zip(ROWS, RATINGS, strict=True)):
        for item, rating in zip(items, ratings, strict=True):
            rating_BI[row, item], mask_BI[row, item] = rating, 1
    input_BI = (rating_BI - 2.5) * mask_BI
    hidden_BH = 1 / (1 + torch.exp(-(input_BI @ model.input.weight_IH + model.input.bias_H)))
    predicted_BI = hidden_BH @ model.item_vectors_IH.T + model.deviation_I + 2.5
    return ((rating_BI - predicted_BI) ** 2 * mask_BI).sum(dim=1)


def test_the_masked_loss_and_its_gradient_are_the_textbooks() -> None:
    model = built()
    parameters = dict(model.named_parameters())
    query_BH = model.training_pass(batch(), torch.Generator()).query_BH
    found_B = masked_squared(query_BH, model, batch(), row_length=1.5)
    expected_B = textbook(model) / 1.5
    torch.testing.assert_close(found_B, expected_B)
    assert found_B[2] == 0
    found = torch.autograd.grad(found_B.mean(), list(parameters.values()))
    expected = torch.autograd.grad(expected_B.mean(), list(parameters.values()))
    for name, ours, theirs in zip(parameters, found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_items_without_a_rating_in_the_batch_get_no_gradient() -> None:
    model = built()
    query_BH = model.training_pass(batch(), torch.Generator()).query_BH
    torch.autograd.backward(masked_squared(query_BH, model, batch()).mean())
    for table in (model.item_vectors_IH, model.input.weight_IH, model.deviation_I):
        gradient = table.grad
        assert gradient is not None
        rated_I = gradient.reshape(NUM_ITEMS, -1).abs().sum(dim=1) > 0
        assert rated_I.nonzero().flatten().tolist() == [0, 1, 2, 3, 7]


def test_a_run_on_ratings_has_the_error_of_a_rating_for_its_loss() -> None:
    config = TrainingConfig.of({"model": "autorec-user"})
    assert config.loss == "masked"
    items, ratings = np.concatenate(ROWS), np.concatenate(RATINGS)
    matrix = csr_array((ratings, items.astype(np.int64), np.array([0, 3, 4, 4, 6])), shape=(4, 8))
    loss = objective(config, matrix, torch.Generator())
    model = built()
    mean_loss = loss(model.encode(batch()), model, batch()).mean()
    torch.testing.assert_close(mean_loss, textbook(model).sum() / 6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "autorec-item", "loss": "multinomial"}, "autorec-item cannot have the loss"),
        ({"model": "multvae", "loss": "masked"}, "multvae cannot have the loss 'masked'"),
        ({"model": "autorec-user", "negatives": 5}, "over ratings alone: leave it at 0"),
        ({"model": "autorec-item", "ridge": 0}, "ridge"),
    ],
)
def test_models_of_ratings_have_the_masked_loss_and_no_others_do(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        TrainingConfig.of(settings)
