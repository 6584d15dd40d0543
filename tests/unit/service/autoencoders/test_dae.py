import pytest
import torch

from service.autoencoders.corruption import Noise, corrupted
from service.autoencoders.dae import DAE, DAEConfig
from service.histories import History, HistoryBatch

KINDS: tuple[Noise, ...] = ("masking", "gaussian", "salt_and_pepper")
BATCH = HistoryBatch.from_rows([History.of(range(20)), History.of([3, 5]), History.of([])])


@pytest.mark.parametrize("noise", KINDS)
def test_training_sees_a_corrupted_history_as_serving_would_see_it(noise: Noise) -> None:
    torch.manual_seed(0)
    model = DAE(DAEConfig(latent_dim=6, hidden_dims=(9,), noise=noise, corruption=0.4), 30)
    found = model.training_pass(BATCH, torch.Generator().manual_seed(4)).query_BH
    spoilt = corrupted(BATCH, noise, 0.4, 30, torch.Generator().manual_seed(4))
    assert torch.equal(found, model.queries(model.encode(spoilt)))
    assert not torch.equal(found, model.queries(model.encode(BATCH)))


@pytest.mark.parametrize("noise", KINDS)
def test_items_that_are_not_in_the_input_get_no_gradient_from_it(noise: Noise) -> None:
    model = DAE(DAEConfig(latent_dim=6, hidden_dims=(), noise=noise, corruption=0.4), 30)
    spoilt = corrupted(BATCH, noise, 0.4, 30, torch.Generator().manual_seed(4))
    query_BH = model.training_pass(BATCH, torch.Generator().manual_seed(4)).query_BH
    (gradient_IH,) = torch.autograd.grad(query_BH.sum(), model.input.weight_IH)
    touched = set(gradient_IH.abs().sum(dim=1).nonzero().flatten().tolist())
    assert touched <= set(spoilt.item_index_N.tolist())
