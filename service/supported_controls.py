"""Which controls a model has something for, and the refusal of the others."""

from typing import Final

from service.deployment import Served
from service.errors import UnsupportedControlError
from service.recommendation import Controls

ALWAYS: Final = ("popularity_penalty", "explain")
OF_VECTORS: Final = ("diversity", "dislikes")
OF_POSTERIOR: Final = ("exploration", "steer")


def supported(served: Served) -> tuple[str, ...]:
    """Name the controls that a model has something for."""
    return (
        *ALWAYS,
        *(OF_VECTORS if served.has_item_vectors else ()),
        *(OF_POSTERIOR if served.has_posterior else ()),
        # To a catalogue without categories it is no error, and does nothing.
        *(("calibration",) if any(served.catalog.categories) else ()),
    )


def require(controls: Controls, served: Served) -> None:
    """Make sure that a model has something for all that is asked.

    Raises:
        UnsupportedControlError: Names the control.
    """
    if not served.has_item_vectors:
        _refuse(controls, OF_VECTORS, served, "vectors of items")
    if not served.has_posterior:
        _refuse(controls, OF_POSTERIOR, served, "a posterior")
    beyond = [dimension for dimension, _ in controls.steer if dimension >= served.latent_dim]
    if beyond:
        raise UnsupportedControlError("steer", served.name, f"a dimension {beyond[0]}")


def _refuse(controls: Controls, fields: tuple[str, ...], served: Served, missing: str) -> None:
    for field in fields:
        if getattr(controls, field):
            raise UnsupportedControlError(field, served.name, missing)
