"""How each model comes by its weights: by gradients, in closed form, or out of other models."""

from collections.abc import Callable, Mapping
from typing import Final

from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.hybrid import fit_hybrid
from training.linear import fit_linear
from training.loop import Resumable, TrainingResult, Watcher, train
from training.ratings import fit_by_items, fit_by_users
from training.state import forget_states
from training.task import RankingTask

Fitter = Callable[[TrainingConfig, Dataset, Watcher, Resumable | None], TrainingResult]

# Models that are not trained by gradients over users' histories.
FITTERS: Final[Mapping[str, Fitter]] = {
    "ease": fit_linear,
    "edlae": fit_linear,
    "hybrid": fit_hybrid,
    "autorec-user": fit_by_users,
    "autorec-item": fit_by_items,
}


def fit(
    config: TrainingConfig, dataset: Dataset, watcher: Watcher, resumable: Resumable | None = None
) -> TrainingResult:
    """Fit the model that the config names; see ``training.loop.train`` for what may be raised.

    A run that does not resume forgets the states of earlier ones first: a later one that does
    would mix them up.
    """
    if resumable is not None and not resumable.resume:
        forget_states(resumable.directory)
    return FITTERS.get(config.model, _fit_by_gradients)(config, dataset, watcher, resumable)


def _fit_by_gradients(
    config: TrainingConfig, dataset: Dataset, watcher: Watcher, resumable: Resumable | None
) -> TrainingResult:
    return train(config, RankingTask(dataset.split), watcher, resumable)
