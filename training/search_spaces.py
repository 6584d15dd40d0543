"""What ``tune`` may change, model by model, and where each range comes from.

Every range holds the published settings and the presets, and some room on both sides. What a
space does not name (``epochs``, ``patience``, ``decay``) stays as the preset has it: the curves of
a study are compared epoch by epoch, so all its runs must be of one length.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Final, TypeAlias, final

from service.autoencoders.hybrid import PARENTS, Parent


@final
@dataclass(frozen=True, slots=True)
class Real:
    """A number between two others; ``log``: as likely in each power of ten."""

    low: float
    high: float
    log: bool = False


@final
@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number between two others, tried on a logarithmic scale."""

    low: int
    high: int


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values, in no order."""

    options: tuple[Any, ...]


Range: TypeAlias = Real | Whole | Choice
Space: TypeAlias = Mapping[str, Range]

# Adam: 1e-3 in Liang et al. (2018), 5e-4 in RecVAE, 4e-3 in NVIDIA's large-batch Mult-VAE.
LEARNING_RATE: Final = Real(2e-4, 5e-3, log=True)
# 500 users in the papers, on 100,000 users and more; fewer on smaller logs, see the presets.
BATCH_SIZE: Final = Whole(50, 1000)
# Mult-DAE: .01 / 500 in Liang et al. (2018), twice that in their loss; CDAE: .01 in RecBole.
WEIGHT_DECAY: Final = Real(1e-7, 1e-2, log=True)
# 200 in Liang et al. (2018); 50 and more on small logs; Mult-VAE's rank is not its bottleneck.
LATENT_DIM: Final = Whole(50, 600)
# .5 in Liang et al. (2018) and RecVAE, .2 and .5 in CDAE (Wu et al. 2016).
DROPOUT: Final = Real(0.1, 0.9)
# 600 in Liang et al. (2018), smaller on small logs; a second layer did not help them.
HIDDEN_DIMS: Final = Choice(([200], [400], [600], [1000], [600, 400]))

GRADIENT: Final[Space] = {"learning_rate": LEARNING_RATE, "batch_size": BATCH_SIZE}
MIRRORED_VAE: Final[Space] = {
    **GRADIENT,
    "latent_dim": LATENT_DIM,
    "hidden_dims": HIDDEN_DIMS,
    "dropout": DROPOUT,
}
AUTOREC: Final[Space] = {
    **GRADIENT,
    "latent_dim": Whole(100, 800),
    "dropout": Real(0.0, 0.8),
    "weight_decay": WEIGHT_DECAY,
}

SPACES: Final[Mapping[str, Space]] = {
    "multvae": {
        **MIRRORED_VAE,
        # Caps .1 to .4 by data set, reached at 85 % of ML-20M's run (Liang et al. 2018).
        "beta_cap": Real(0.02, 1.0, log=True),
        "anneal_fraction": Real(0.2, 1.0),
    },
    "betavae": {
        **MIRRORED_VAE,
        # .05 to 1 for ranking; above 1 is Higgins et al. (2017), who look for factors.
        "beta_cap": Real(0.02, 4.0, log=True),
        "beta_schedule": Choice(("constant", "linear", "cyclical")),
    },
    "recvae": {
        **GRADIENT,
        "latent_dim": LATENT_DIM,
        # 600 in Shenbin et al. (2020); 200 and 300 suit small logs.
        "hidden_dim": Whole(200, 800),
        "dropout": DROPOUT,
        # Gamma: .0035 Netflix, .005 ML-20M, .01 MSD (Shenbin et al. 2020).
        "beta_cap": Real(0.0005, 0.05, log=True),
    },
    "cdae": {
        **GRADIENT,
        "latent_dim": LATENT_DIM,
        "corruption": DROPOUT,
        # 1 is a model without user rows, as strong generalization meets it.
        "user_dropout": Real(0.0, 1.0),
        # Wu et al. (2016) compare the logistic and the squared loss, Liang et al. (2018) use the
        # multinomial one.
        "loss": Choice(("logistic", "multinomial")),
        "weight_decay": WEIGHT_DECAY,
    },
    "multdae": {
        **GRADIENT,
        "latent_dim": LATENT_DIM,
        "dropout": DROPOUT,
        "weight_decay": WEIGHT_DECAY,
    },
    "dae": {
        **GRADIENT,
        "latent_dim": LATENT_DIM,
        "hidden_dims": HIDDEN_DIMS,
        # Masking, Gaussian, salt and pepper: the kinds of Vincent et al. (2010).
        "noise": Choice(("masking", "gaussian", "salt_and_pepper")),
        "corruption": DROPOUT,
        "weight_decay": WEIGHT_DECAY,
    },
    "autoencoder": {
        **GRADIENT,
        "latent_dim": LATENT_DIM,
        "hidden_dims": HIDDEN_DIMS,
        # Kuchaiev and Ginsburg (2017): SELU, and as much as .8 of the code dropped.
        "activation": Choice(("tanh", "selu", "relu", "sigmoid")),
        "dropout": Real(0.0, 0.9),
        "loss": Choice(("squared", "multinomial")),
        "weight_decay": WEIGHT_DECAY,
    },
    # Steck (2019): 200 (MSD), 500 (ML-20M), 1000 (Netflix); 80 on Gowalla, 125 on goodbooks-10k,
    # a tenth of that on logs of 100,000 interactions.
    "ease": {"l2": Real(5.0, 3000.0, log=True)},
    # Steck (2020): (.33, 300) ML-20M, (.33, 500) Netflix, (.25, 70) MSD.
    "edlae": {"l2": Real(1.0, 2000.0, log=True), "dropout": Real(0.0, 0.9)},
    "elsa": {
        # Vancura et al. (2022): rank 800 for ML-20M and 32 to 128 users a step of .1 (NAdam); a
        # small rank is very costly. Steps of .02 are better here.
        "latent_dim": Whole(128, 2048),
        "learning_rate": Real(2e-3, 0.2, log=True),
        "batch_size": Whole(32, 1000),
        "dropout": Real(0.0, 0.9),
    },
    # Who the parents are; their own settings are their presets', tuned by themselves.
    "hybrid": {
        "parents": Choice(
            tuple(
                [asdict(Parent(name)) for name in names]
                for size in (1, 2)
                for names in combinations(PARENTS, size)
            )
        ),
    },
    # Sedhain et al. (2015): 500 hidden units, the L2 weight tuned over six powers of ten; 100
    # units lose little.
    "autorec-user": AUTOREC,
    "autorec-item": AUTOREC,
}
