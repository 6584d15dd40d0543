import pytest
import torch

from service.autoencoders.ease import Ease, EaseConfig
from service.autoencoders.edlae import Edlae, EdlaeConfig
from service.autoencoders.linear import LinearAutoencoder
from service.histories import History, HistoryBatch
from service.ranker import retriever_for


@pytest.mark.parametrize(
    "model", [Ease(EaseConfig(num_weights=4), 7), Edlae(EdlaeConfig(num_weights=4), 7)]
)
def test_the_latent_is_empty_and_the_history_is_kept(model: LinearAutoencoder) -> None:
    batch = HistoryBatch.from_rows([History.of([1, 2]), History.of([])])
    latents_BD = model.encode(batch)
    assert latents_BD.shape == model.queries(latents_BD).shape == (2, 0)
    assert (model.latent_dim, model.num_items, model.num_users) == (0, 7, 0)
    assert model.keeps_history
    assert retriever_for(model).name == "item-item"


def test_the_config_says_how_many_weights_there_are() -> None:
    state = Ease(EaseConfig(num_weights=5), 3).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        "item_vectors_IH": (3, 0),
        "item_bias_I": (3,),
        "linear.offset_I1": (4,),
        "linear.item_index_M": (5,),
        "linear.weight_M": (5,),
    }
    assert state["linear.item_index_M"].dtype == torch.int32
