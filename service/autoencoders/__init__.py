"""The architectures by name: a plain dict, to be read and extended by hand."""

from dataclasses import dataclass
from typing import Any, final

from service.autoencoders.base import Autoencoder
from service.autoencoders.cdae import CDAE, CDAEConfig
from service.autoencoders.multvae import MultVAE, MultVAEConfig


@final
@dataclass(frozen=True, slots=True)
class Architecture:
    """A frozen config class and the module that is built from it."""

    config: type[Any]
    module: type[Any]

    def build(self, config: object, num_items: int, num_users: int) -> Autoencoder:
        """Make the module with fresh weights."""
        model: Autoencoder = self.module(config, num_items, num_users)
        return model


ARCHITECTURES = {
    "multvae": Architecture(MultVAEConfig, MultVAE),
    "cdae": Architecture(CDAEConfig, CDAE),
}
