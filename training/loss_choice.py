"""Whether a run sums over the whole catalogue or over a sample of it, and the line that says so."""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from training.config import TrainingConfig
from training.errors import BadInputError
from training.negatives import SAMPLED_LOSSES
from training.unread_settings import unread_by

LossChoice: TypeAlias = Literal["exact", "sampled"]

# Below it a step of the exact loss is a second of two cores at most (500 users, 600 units), and
# there is nothing to lose by it.
SAMPLED_FROM_ITEMS: Final = 100_000
# On Gowalla (40,980 items) 2,000 reach 97 % of the exact loss's NDCG@100, 8,000 reach 99.8 %.
NEGATIVES: Final = 8_000


def choose_loss(
    settings: Mapping[str, Any], num_items: int, wanted: LossChoice | None = None
) -> tuple[TrainingConfig, str]:
    """Take the loss that is wanted, else the one that suits the catalogue.

    Args:
        settings: Of the run; ``negatives`` among them are a choice, too.
        num_items: Size of the catalogue.
        wanted: None: as ``settings`` say, else exact up to ``SAMPLED_FROM_ITEMS``.

    Returns:
        The config, and the line that tells the choice; empty for a model that has none.

    Raises:
        BadInputError: The settings contradict what is wanted, or the model has no sampled loss.
    """
    if not _can_sample(settings):
        if wanted == "sampled":
            raise BadInputError(
                f"--loss sampled is not for {settings['model']} with its loss: only "
                f"{' and '.join(SAMPLED_LOSSES)} losses take a sample"
            )
        return TrainingConfig.of(settings), ""
    said = settings.get("negatives")
    if said is not None and wanted is not None and bool(said) != (wanted == "sampled"):
        raise BadInputError(f"--loss {wanted} contradicts the setting negatives = {said}")
    suits = "exact" if num_items < SAMPLED_FROM_ITEMS else "sampled"
    if said is None and (wanted or suits) == "sampled":
        settings = {**settings, "negatives": NEGATIVES}
    config = TrainingConfig.of(settings)
    return config, _told(config, num_items)


def _can_sample(settings: Mapping[str, Any]) -> bool:
    if not unread_by(settings["model"]).isdisjoint({"loss", "negatives"}):
        return False
    return TrainingConfig.of(settings).loss in SAMPLED_LOSSES


def _told(config: TrainingConfig, num_items: int) -> str:
    border = f"from {SAMPLED_FROM_ITEMS:,} items up a run takes a sample unless told otherwise"
    if config.negatives:
        return (
            f"loss: sampled, {config.negatives:,} negatives a step for the {num_items:,} items "
            f"({border}; --loss exact takes all of them)"
        )
    return f"loss: exact, over all {num_items:,} items ({border}; --loss sampled)"
