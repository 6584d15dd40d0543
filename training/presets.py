"""Defaults by model and data size, so that ``foldin train DATA --model NAME`` is good untuned.

Chosen by validation NDCG@100 on ml-latest-small and ml-100k ("small") and on ml-1m ("medium"),
or taken from Liang et al. (2018) for 10 to 60 million interactions ("large").
"""

from typing import Any, Final

# Training interactions below which the "small" settings apply, and so on upwards.
SIZES: Final = (("small", 150_000), ("medium", 3_000_000), ("large", float("inf")))

PRESETS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "multvae": {
        "small": {"batch_size": 100, "epochs": 100, "patience": 40},
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
}


def preset(model: str, num_interactions: int) -> dict[str, Any]:
    """Give the settings for a model on a log of this size; none for an unknown model."""
    size = next(name for name, limit in SIZES if num_interactions < limit)
    return {"model": model, **PRESETS.get(model, {}).get(size, {})}
