"""The architectures by name: a plain dict, to be read and extended by hand."""

from dataclasses import dataclass
from typing import Any, final

from service.autoencoders.autoencoder import DeepAutoencoder, DeepAutoencoderConfig
from service.autoencoders.autorec_item import AutoRecItem, AutoRecItemConfig
from service.autoencoders.autorec_user import AutoRecUser, AutoRecUserConfig
from service.autoencoders.base import Autoencoder
from service.autoencoders.betavae import BetaVAE, BetaVAEConfig
from service.autoencoders.cdae import CDAE, CDAEConfig
from service.autoencoders.dae import DAE, DAEConfig
from service.autoencoders.ease import Ease, EaseConfig
from service.autoencoders.edlae import Edlae, EdlaeConfig
from service.autoencoders.elsa import Elsa, ElsaConfig
from service.autoencoders.hybrid import Hybrid, HybridConfig
from service.autoencoders.multdae import MultDAE, MultDAEConfig
from service.autoencoders.multvae import MultVAE, MultVAEConfig
from service.autoencoders.recvae import RecVAE, RecVAEConfig


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
    "betavae": Architecture(BetaVAEConfig, BetaVAE),
    "recvae": Architecture(RecVAEConfig, RecVAE),
    "autoencoder": Architecture(DeepAutoencoderConfig, DeepAutoencoder),
    "dae": Architecture(DAEConfig, DAE),
    "multdae": Architecture(MultDAEConfig, MultDAE),
    "ease": Architecture(EaseConfig, Ease),
    "edlae": Architecture(EdlaeConfig, Edlae),
    "elsa": Architecture(ElsaConfig, Elsa),
    "hybrid": Architecture(HybridConfig, Hybrid),
    "autorec-user": Architecture(AutoRecUserConfig, AutoRecUser),
    "autorec-item": Architecture(AutoRecItemConfig, AutoRecItem),
}
