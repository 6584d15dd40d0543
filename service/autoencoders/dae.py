"""A denoising autoencoder: restore a history from a corrupted copy of it.

Vincent, Larochelle, Bengio and Manzagol, "Extracting and Composing Robust Features with
Denoising Autoencoders", ICML 2008. SELU: Klambauer et al., NeurIPS 2017 (arXiv:1706.02515).
"""

from dataclasses import dataclass
from typing import Annotated, final

from pydantic import Field
from torch import Generator

from service.autoencoders.base import TrainingPass
from service.autoencoders.corruption import Noise, corrupted
from service.autoencoders.mirrored import MirroredAutoencoder
from service.histories import HistoryBatch


@final
@dataclass(frozen=True, slots=True)
class DAEConfig:
    """The shape of a denoising autoencoder, and what spoils its input."""

    latent_dim: Annotated[int, Field(ge=1)] = 200
    """D, the size of the code."""

    hidden_dims: tuple[Annotated[int, Field(ge=1)], ...] = (600,)
    """Widths of the encoder; the decoder mirrors them. None: I - latent - I."""

    noise: Noise = "masking"
    """What training does to the entries of a history: see ``corrupted``."""

    corruption: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of entries lost, or (gaussian) the noise's deviation relative to a weight."""


@final
class DAE(MirroredAutoencoder):
    """Corrupts what is observed, normalises what is left as serving would, restores the rest."""

    config: DAEConfig

    def __init__(self, config: DAEConfig, num_items: int, num_users: int = 0) -> None:
        del num_users  # every architecture is built by the same call; this one has no user rows
        super().__init__(config, "selu", num_items)

    def training_pass(self, histories: HistoryBatch, generator: Generator) -> TrainingPass:
        """Encode a corrupted copy of each history and decode it.

        The copy is normalised after the corruption: the encoder sees a history that is half as
        long just as it will see a user who has half as many entries.
        """
        noise, corruption = self.config.noise, self.config.corruption
        visible = corrupted(histories, noise, corruption, self.num_items, generator)
        return self.restored(self.encode(visible))
