"""How each model comes by its weights: by gradients, in closed form, or out of other models."""

from collections.abc import Callable, Mapping
from typing import Final

from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.distributed import World
from training.errors import BadInputError
from training.hybrid import fit_hybrid
from training.linear import fit_linear
from training.loop import Resumable, TrainingResult, Watcher, train
from training.ratings import fit_by_items, fit_by_users
from training.state import forget_states
from training.task import RankingTask

Fitter = Callable[[TrainingConfig, Dataset, Watcher, Resumable | None], TrainingResult]
SharedFitter = Callable[[TrainingConfig, Dataset, Watcher, Resumable | None, World], TrainingResult]

# Models that one process fits: a closed form, and what is made of several models.
FITTERS: Final[Mapping[str, Fitter]] = {
    "ease": fit_linear,
    "edlae": fit_linear,
    "hybrid": fit_hybrid,
}
# Models that gradients train, over other rows than users' histories.
SHARED_FITTERS: Final[Mapping[str, SharedFitter]] = {
    "autorec-user": fit_by_users,
    "autorec-item": fit_by_items,
}


def fit(
    config: TrainingConfig,
    dataset: Dataset,
    watcher: Watcher,
    resumable: Resumable | None = None,
    world: World | None = None,
) -> TrainingResult:
    """Fit the model that the config names; see ``training.loop.train`` for what may be raised.

    A run that does not resume forgets the states of earlier ones first: a later one that does
    would mix them up.

    Raises:
        BadInputError: Several processes are to fit a model that one has to fit.
    """
    world = world or World.alone()
    if config.model in FITTERS and world.size > 1:
        raise BadInputError(f"{config.model} is fitted by one process: run it without torchrun")
    if resumable is not None and not resumable.resume:
        forget_states(resumable.directory)
    if config.model in FITTERS:
        return FITTERS[config.model](config, dataset, watcher, resumable)
    shared = SHARED_FITTERS.get(config.model, _fit_by_gradients)
    return shared(config, dataset, watcher, resumable, world)


def _fit_by_gradients(
    config: TrainingConfig,
    dataset: Dataset,
    watcher: Watcher,
    resumable: Resumable | None,
    world: World,
) -> TrainingResult:
    return train(config, RankingTask(dataset.split, world), watcher, resumable, world)
