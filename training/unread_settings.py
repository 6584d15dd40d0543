"""Settings that a model does not read: refused, since to ignore them would pass for consent."""

from collections.abc import Mapping
from typing import Any, Final

from service.autoencoders.hybrid import PARENTS
from training.errors import BadInputError

PRUNED: Final = {"num_weights": "pruning leaves as many as it must"}
CLOSED_FORM: Final = dict.fromkeys(
    ("loss", "negatives", "unobserved_weight"), "it has a closed form"
)
OWN_LOSS: Final = dict.fromkeys(("loss", "negatives", "unobserved_weight"), "its loss is its own")

# What ``epochs``, ``batch_size`` and so on say is for a whole comparison, closed forms among it,
# and does not change what is learned: these are left alone.
UNREAD: Final[Mapping[str, Mapping[str, str]]] = {
    "ease": PRUNED | CLOSED_FORM,
    "edlae": PRUNED | CLOSED_FORM,
    "elsa": OWN_LOSS,
    "hybrid": {
        **PRUNED,
        **dict.fromkeys(("loss", "unobserved_weight"), "each parent has its own"),
        "linear_weight": "validation chooses it",
    },
}


def unread_by(model: str) -> frozenset[str]:
    """Name the settings that a model does not read."""
    return frozenset(UNREAD.get(model, {}))


def refuse_unread(model: str, settings: Mapping[str, Any], loss: str) -> None:
    """Refuse settings that would play no part.

    Args:
        model: A key of ``ARCHITECTURES``.
        settings: Those that were given, of the run and of the architecture, valid by themselves.
        loss: Of the run, given or not.

    Raises:
        BadInputError: With the setting and the reason.
    """
    for key, reason in UNREAD.get(model, {}).items():
        if key in settings:
            raise BadInputError(f"the setting {key} is not for {model}: {reason}")
    if "unobserved_weight" in settings and loss != "squared":
        raise BadInputError(f"unobserved_weight is for the squared loss only, and this is {loss}")
    if model == "hybrid":
        _refuse_parents(settings.get("parents", ()))


def _refuse_parents(parents: Any) -> None:  # noqa: ANN401 - as the config file has them, checked
    for parent in parents:
        if parent["architecture"] not in PARENTS:
            known = ", ".join(PARENTS)
            raise BadInputError(
                f"{parent['architecture']!r} cannot be a parent of a hybrid; there are: {known}"
            )
        if parent.get("weight", 1) != 1:
            raise BadInputError("the weight of a parent is not for hybrid: validation chooses it")
