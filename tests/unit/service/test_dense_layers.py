import gc
import threading
import weakref

import torch
from torch import Tensor

from service.autoencoders.base import Autoencoder
from service.checkpoint import build_model
from service.dense_layers import OnnxLayers, dense_layers_of
from service.histories import HistoryBatch


class Strange(Autoencoder):
    """Does what nobody has translated."""

    def __init__(self) -> None:
        super().__init__(config=None)
        self.item_vectors_IH = torch.zeros(3, 2)
        self.item_bias_I = torch.zeros(3)

    @property
    def num_items(self) -> int:
        return 3

    @property
    def latent_dim(self) -> int:
        return 2

    def gather(self, histories: HistoryBatch) -> Tensor:
        return torch.zeros(len(histories), 2)

    def latents(self, gathered_BF: Tensor) -> Tensor:
        return torch.cos(gathered_BF)


def test_a_model_without_dense_layers_passes_values_on() -> None:
    layers = dense_layers_of(build_model("elsa", {"latent_dim": 8}, 30, 0).freeze(), threads=1)
    value_BD = torch.ones(2, 8)
    assert isinstance(layers, OnnxLayers)
    assert layers.latents(value_BD) is value_BD
    assert layers.queries(value_BD) is value_BD


def test_what_onnx_lacks_is_left_to_torch() -> None:
    model = Strange()
    assert dense_layers_of(model, threads=1) is model


def test_a_model_answers_on_another_thread_while_another_is_traced() -> None:
    answering = build_model("multvae", {"latent_dim": 4, "hidden_dims": [8]}, 30, 0).freeze()
    value_BD = torch.ones(2, 4)
    expected_BH = answering.queries(value_BD)
    found_BH: list[Tensor] = []

    class Slow(Strange):
        def latents(self, gathered_BF: Tensor) -> Tensor:
            thread = threading.Thread(target=lambda: found_BH.append(answering.queries(value_BD)))
            thread.start()
            thread.join()
            return super().latents(gathered_BF)

    dense_layers_of(Slow(), threads=1)
    assert len(found_BH) == 1
    assert torch.equal(found_BH[0], expected_BH)


def test_a_model_goes_with_its_last_reference() -> None:
    """A trace holds itself; of the model it must hold nothing."""
    gc.disable()
    try:
        model = build_model("multvae", {"latent_dim": 4, "hidden_dims": [8]}, 30, 0).freeze()
        reference = weakref.ref(model)
        layers = dense_layers_of(model, threads=1)
        assert isinstance(layers, OnnxLayers)
        del model
        assert reference() is None
    finally:
        gc.enable()
