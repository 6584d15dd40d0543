"""The contract that every autoencoder keeps: encode, then score by a linear map onto the items.

Shapes: B users, I items, D latent, H last hidden layer, N history entries in the batch.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

from torch import Generator, Tensor, nn

from service.autoencoders.item_item import ItemItem
from service.histories import HistoryBatch


@final
@dataclass(frozen=True, slots=True)
class TrainingPass:
    """What one noisy forward pass gives the loss.

    Attributes:
        query_BH: The last hidden layer under dropout, corruption and sampling.
        regularizer_B: What beta weighs, per user: the KL term of a VAE, zeros without one.
        loss_B: How far the reconstruction is from the history, where the model has a measure of
            its own; None: the loss that the run names.
    """

    query_BH: Tensor
    regularizer_B: Tensor
    loss_B: Tensor | None = None


@final
@dataclass(frozen=True, slots=True, eq=False)
class Phase:
    """A part of every epoch, with an optimiser of its own.

    Attributes:
        name: Names the optimiser in the state of a run.
        passes: Times that the phase goes over the training users.
        parameters: What it trains; the others stand still.
    """

    name: str
    passes: int
    parameters: tuple[nn.Parameter, ...]


class Autoencoder(nn.Module, ABC):
    """Encodes histories; its last layer is an item matrix that any retriever can search.

    ``score_BI = queries(encode(histories)) @ item_vectors_IH.T + item_bias_I``

    A model with a full-rank linear part (``linear``) adds ``linear(histories)`` to that. What a
    user's items add is not a function of any latent, so such a model keeps no latents of users:
    it keeps their histories, and encodes them again (``keeps_history``).

    Attributes:
        config: The frozen dataclass that it was built from: with the weights, all there is.
        reads_ratings: Whether the weights of entries are ratings, and scores predict ratings; the
            config then has a ``scale``.
    """

    reads_ratings: ClassVar[bool] = False
    item_vectors_IH: Tensor
    item_bias_I: Tensor
    linear: ItemItem | None

    def __init__(self, config: Any) -> None:  # noqa: ANN401 - each architecture has its own
        super().__init__()
        self.config = config
        # Not a default of the class: that would hide the module which nn.Module keeps elsewhere.
        self.linear = None

    @property
    def keeps_history(self) -> bool:
        """Whether an answer needs the history itself and not only its latent."""
        return self.linear is not None

    def freeze(self) -> Self:
        """Make ready to answer: evaluation mode, no gradients, dense layers in float64.

        A float32 product of one row differs in its last digits from the same row in a batch, and
        near ties then trade places with the load. In float64 the difference is a million times
        smaller than the float32 that latents and queries are rounded to: an answer does not
        depend on its neighbours. The tables (item matrix, first layer, user rows) stay as they
        are; a bag of rows is summed in one order whatever the batch.
        """
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.LayerNorm)):
                module.double()
        return self.eval().requires_grad_(requires_grad=False)

    @property
    @abstractmethod
    def num_items(self) -> int:
        """I, the size of the catalogue."""

    @property
    @abstractmethod
    def latent_dim(self) -> int:
        """D, the size of what the latent store keeps for a user."""

    @property
    def gathered_dim(self) -> int:
        """F, the size of what ``gather`` gives: D, unless dense layers come behind it."""
        return self.latent_dim

    @property
    def num_users(self) -> int:
        """Users that have a row of their own in the model; none unless the model says so."""
        return 0

    @final
    def encode(self, histories: HistoryBatch) -> Tensor:
        """Fold histories in: latents_BD, no dropout, no sampling, in the item matrix's dtype."""
        return self.latents(self.gather(histories))

    @abstractmethod
    def gather(self, histories: HistoryBatch) -> Tensor:
        """Read what the model has of each entry: gathered_BF, all that ``latents`` needs."""

    def latents(self, gathered_BF: Tensor) -> Tensor:
        """Finish the encoding, latents_BD: dense layers, or nothing."""
        return gathered_BF

    def queries(self, latents_BD: Tensor) -> Tensor:
        """Decode latents up to the last hidden layer: query_BH, in the item matrix's dtype."""
        return latents_BD


class TrainableAutoencoder(Autoencoder, ABC):
    """An autoencoder that gradients train; the others have a closed form."""

    @abstractmethod
    def training_pass(self, histories: HistoryBatch, generator: Generator) -> TrainingPass:
        """Run the noisy pass of training.

        ``generator`` is its only source of chance, and lives on the device of the histories.
        """

    def phases(self) -> tuple[Phase, ...]:
        """Name what an epoch does, in order: one pass over everything, unless a model differs."""
        return (Phase("all", 1, tuple(self.parameters())),)

    def start_phase(self, name: str) -> None:
        """Hear which phase the next passes belong to."""
