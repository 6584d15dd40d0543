"""User-based AutoRec beside its textbook form on dense rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from service.autoencoders.autorec_user import AutoRecUser, AutoRecUserConfig
from service.autoencoders.layers import ACTIVATIONS, Activation
from service.autoencoders.rating_scale import RatingScale
from service.histories import History, HistoryBatch

NUM_ITEMS = 9
CONFIG = AutoRecUserConfig(latent_dim=5, scale=RatingScale(mean=3.25))
# The rating of 0 is a rating, and no gap.
RATINGS = {0: {1: 5.0, 4: 2.0, 8: 0.0}, 1: {}, 2: {0: 1.0}}


def built(config: AutoRecUserConfig) -> AutoRecUser:
    torch.manual_seed(3)
    model = AutoRecUser(config, NUM_ITEMS)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def batch() -> HistoryBatch:
    rows = [History.of(list(row), list(row.values())) for row in RATINGS.values()]
    return HistoryBatch.from_rows(rows)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_scores_are_those_of_the_dense_network(centred: bool, activation: Activation) -> None:
    model = built(replace(CONFIG, centred=centred, activation=activation))
    input_BI = torch.zeros(3, NUM_ITEMS)
    for user, row in RATINGS.items():
        for item, rating in row.items():
            input_BI[user, item] = rating - 3.25 if centred else rating
    hidden_BH = ACTIVATIONS[activation]()(input_BI @ model.input.weight_IH + model.input.bias_H)
    expected_BI = hidden_BH @ model.item_vectors_IH.T + model.deviation_I + 3.25
    query_BH = model.queries(model.encode(batch()))
    found_BI = query_BH @ model.item_vectors_IH.T + model.item_bias_I
    torch.testing.assert_close(found_BI, expected_BI)


def test_an_untrained_model_predicts_about_the_mean() -> None:
    torch.manual_seed(0)
    model = AutoRecUser(AutoRecUserConfig(latent_dim=4, scale=RatingScale(mean=-2.0)), 50)
    assert model.item_bias_I.tolist() == [-2.0] * 50


def test_training_hides_a_share_of_the_ratings_from_the_input_and_evaluation_none() -> None:
    model = built(replace(CONFIG, dropout=0.5))
    row = HistoryBatch.from_rows([History.of(np.arange(9), np.full(9, 5.0))] * 400)
    noisy_BH = model.training_pass(row, torch.Generator().manual_seed(0)).query_BH
    assert len(torch.unique(noisy_BH, dim=0)) > 100
    assert len(torch.unique(model.encode(row), dim=0)) == 1
    silent = built(replace(CONFIG, dropout=0.0))
    plain_BH = silent.training_pass(row, torch.Generator().manual_seed(0)).query_BH
    torch.testing.assert_close(plain_BH, silent.encode(row))
