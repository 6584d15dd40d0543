"""A run minimises the loss that its config names."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch import Tensor

from service.autoencoders.base import Autoencoder
from service.checkpoint import build_model
from service.histories import History, HistoryBatch
from training.config import TrainingConfig
from training.errors import BadInputError
from training.losses import LOSSES, squared
from training.negatives import Proposal, sampled_logistic
from training.objective import objective

ROWS = csr_array(np.tri(6, 9, dtype=np.float32))


def value(**settings: object) -> Tensor:
    config = TrainingConfig.of({"model": "cdae", "latent_dim": 3, **settings})
    return objective(config, ROWS, torch.Generator().manual_seed(5))(*arguments())


def arguments() -> tuple[Tensor, Autoencoder, HistoryBatch]:
    torch.manual_seed(0)
    model = build_model("cdae", {"latent_dim": 3}, 9, 0)
    return torch.randn(2, 3), model, HistoryBatch.from_rows([History.of([1, 4]), History.of([2])])


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_without_negatives_it_is_the_exact_loss(loss: str) -> None:
    assert torch.equal(value(loss=loss), LOSSES[loss](*arguments()))


def test_absent_items_weigh_what_the_config_says() -> None:
    found_B = value(loss="squared", unobserved_weight=0.2)
    assert torch.equal(found_B, squared(*arguments(), unobserved_weight=0.2))
    assert not torch.equal(found_B, value(loss="squared"))


def test_negatives_are_drawn_by_the_popularity_of_the_rows_with_the_noise_of_the_run() -> None:
    popularity_I = np.array([6, 5, 4, 3, 2, 1, 0, 0, 0])
    proposal = Proposal.of(popularity_I, torch.device("cpu"))
    drawn = proposal.draw(7, torch.Generator().manual_seed(5))
    expected_B = sampled_logistic(*arguments(), drawn)
    assert torch.equal(value(loss="logistic", negatives=7), expected_B)


def test_the_squared_loss_wants_no_negatives() -> None:
    with pytest.raises(BadInputError, match=r"setting negatives: .*closed form"):
        value(loss="squared", negatives=7)
