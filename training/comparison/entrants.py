"""Names and settings in, contenders out."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from service.autoencoders import ARCHITECTURES
from service.autoencoders.base import Autoencoder
from service.ranker import ModelRanker
from training.comparison.contender import Contender, Fitted, RatingPredictor
from training.comparison.rivals import RIVALS
from training.config import TrainingConfig, parse_setting
from training.data.datasets import Dataset
from training.errors import BadInputError, first_fault
from training.fitting import FITTERS, Fitter, fit
from training.hybrid import fit_hybrid
from training.linear import fit_linear
from training.loop import Watcher
from training.presets import preset
from training.rating_metrics import measure_ratings

# Settings that a comparison makes itself.
OURS: Final = frozenset({"model", "architecture", "seed"})
# Closed forms come first, a hybrid, which fits several models, last.
EFFORT: Final[Mapping[Fitter | None, int]] = {fit_linear: 0, fit_hybrid: 2}


def default_names() -> list[str]:
    """Name everything that ranks: rivals, closed forms, then what is trained, longest last."""
    rivals = [name for name, rival in RIVALS.items() if not rival.reads_ratings]
    models = [name for name, each in ARCHITECTURES.items() if not each.module.reads_ratings]

    def effort(name: str) -> int:
        return EFFORT.get(FITTERS.get(name), 1)

    return [*rivals, *sorted(models, key=effort)]


def parse_settings(texts: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read ``model.key=value``, and ``key=value`` for every model that is trained.

    Returns:
        Settings by name.

    Raises:
        BadInputError: It is not written so, or is about something that is not compared.
    """
    settings: dict[str, dict[str, Any]] = {name: {} for name in names}
    for text in texts:
        path, value = parse_setting(text)
        name, dot, key = path.partition(".")
        if not dot:
            name, key = "", path
        elif name not in settings:
            raise BadInputError(f"--set {text!r}: {name!r} is not among --models")
        if key in OURS:
            raise BadInputError(f"--set {text!r}: compare sets {key} itself")
        for each in [name] if name else [n for n in names if n not in RIVALS]:
            settings[each][key] = value
    return settings


def contenders(settings: Mapping[str, Mapping[str, Any]], num_interactions: int) -> list[Contender]:
    """Make contenders, the settings of each over its preset for logs of such a size.

    Raises:
        BadInputError: An unknown name or setting, a value out of range, or models of ratings
            among those that rank.
    """
    made = [
        _rival(name, said) if name in RIVALS else _model(name, said, num_interactions)
        for name, said in settings.items()
    ]
    rating = [contender.name for contender in made if contender.reads_ratings]
    ranking = [contender.name for contender in made if not contender.reads_ratings]
    if rating and ranking:
        raise BadInputError(
            f"{rating[0]} predicts ratings and {ranking[0]} ranks items, out of different parts "
            f"of the log: compare them in two calls"
        )
    return made


def _model(name: str, said: Mapping[str, Any], num_interactions: int) -> Contender:
    if name not in ARCHITECTURES:
        known = ", ".join([*RIVALS, *ARCHITECTURES])
        raise BadInputError(f"unknown model {name!r}; there are: {known}")
    settings = {**preset(name, num_interactions), **said}

    def fit_model(dataset: Dataset, seed: int, watcher: Watcher) -> Fitted:
        result = fit(TrainingConfig.of(settings | {"seed": seed}), dataset, watcher)
        return Fitted(
            outcome=_outcome(result.model, dataset),
            seconds=result.seconds,
            facts=result.facts,
            reports=result.reports,
            best_epoch=result.best_epoch,
            interrupted=result.interrupted,
            parent_reports=result.parent_reports,
        )

    return Contender(
        name=name,
        config=TrainingConfig.of(settings).model_dump(mode="json", exclude={"seed"}),
        settings=dict(said),
        has_chance=FITTERS.get(name) is not fit_linear,
        reads_ratings=ARCHITECTURES[name].module.reads_ratings,
        fit=fit_model,
    )


def _outcome(model: Autoencoder, dataset: Dataset) -> ModelRanker | RatingPredictor:
    ratings = dataset.ratings
    if ratings is None:
        return ModelRanker(model)
    return RatingPredictor(lambda: measure_ratings(model, dataset.split, ratings))


def _rival(name: str, said: Mapping[str, Any]) -> Contender:
    rival = RIVALS[name]
    known = [field.name for field in dataclasses.fields(rival.config)]
    for key in said:
        if key not in known:
            there_are = f"; there are: {', '.join(known)}" if known else ""
            raise BadInputError(f"{name} has no setting {key!r}{there_are}")
    try:
        config: Any = TypeAdapter(rival.config).validate_python(dict(said))
    except ValidationError as error:
        raise BadInputError(f"setting {name}.{first_fault(error)}") from error

    def fit_rival(dataset: Dataset, seed: int, watcher: Watcher) -> Fitted:
        started = time.monotonic()
        num_users = dataset.split.train.shape[0]
        outcome, chosen = rival.fit(
            dataset, config, seed, lambda share: watcher.on_step(num_users * share)
        )
        return Fitted(outcome, time.monotonic() - started, chosen)

    return Contender(
        name=name,
        config=dataclasses.asdict(config),
        settings=dict(said),
        has_chance=rival.has_chance,
        reads_ratings=rival.reads_ratings,
        fit=fit_rival,
    )
