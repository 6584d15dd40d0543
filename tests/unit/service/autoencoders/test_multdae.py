import torch

from service.autoencoders.layers import dropped, normalized
from service.autoencoders.multdae import MultDAE, MultDAEConfig
from service.histories import History, HistoryBatch


def test_the_paper_has_one_layer_on_either_side() -> None:
    model = MultDAE(MultDAEConfig(), num_items=30)
    assert {name: tuple(value.shape) for name, value in model.named_parameters()} == {
        "input.weight_IH": (30, 200),
        "input.bias_H": (200,),
        "item_vectors_IH": (30, 200),
        "item_bias_I": (30,),
    }


def test_entries_are_dropped_after_the_norm_is_taken() -> None:
    """Else the norm of what is left would undo the scaling of the entries that stay."""
    torch.manual_seed(0)
    model = MultDAE(MultDAEConfig(latent_dim=6, dropout=0.5), num_items=30)
    batch = HistoryBatch.from_rows([History.of(range(20)), History.of([3, 5])])
    found = model.training_pass(batch, torch.Generator().manual_seed(4)).query_BH
    visible = dropped(normalized(batch), 0.5, torch.Generator().manual_seed(4))
    expected = torch.tanh(model.input(visible))
    assert torch.equal(found, expected)
    assert not torch.allclose(found, torch.tanh(model.input(normalized(visible))))
