"""``foldin tune``: a search for better settings than the preset's, judged on validation users.

The Tree-structured Parzen Estimator (Bergstra et al., NeurIPS 2011) proposes, a median rule stops
what falls behind, both as Optuna has them (Akiba et al., KDD 2019).
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import optuna
import orjson
from optuna.trial import TrialState, create_trial

from service.autoencoders import ARCHITECTURES
from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.errors import BadInputError
from training.loop import Watcher
from training.presets import preset
from training.search_spaces import SPACES, Choice, Range, Space
from training.study import (
    PRESET,
    Direction,
    Outcome,
    chosen,
    distribution_of,
    label,
    open_study,
    outcome_of,
    outcomes_of,
)
from training.trials import run_trial

# Trials that run to their end before the median of them stops others.
UNPRUNED_TRIALS: Final = 5
# Share of the epochs that every trial may use to warm up: curves cross early.
WARM_UP_SHARE: Final = 0.1
# Models whose epochs are those of their parts, and tell nothing of the whole.
SEVERAL_RUNS: Final = frozenset({"hybrid"})

Hear = Callable[[Outcome, Outcome | None], None]


@final
@dataclass(frozen=True, slots=True)
class Search:
    """What to look for, how long, and where to keep it.

    Attributes:
        settings: The preset with what was said over it: where the search starts.
        space: What it may change.
        storage: The file that a later search goes on from.
        num_trials: Finished trials after which it ends, those of earlier starts included.
        timeout_s: No trial starts after so many seconds.
        clock: Seconds, rising.
    """

    settings: Mapping[str, Any]
    space: Space
    storage: Path
    num_trials: int
    timeout_s: float | None = None
    clock: Callable[[], float] = field(default=time.monotonic)

    @property
    def metric(self) -> str:
        """What is looked for: the least error of a rating model, else the best ranking."""
        return "rmse" if reads_ratings(self.settings["model"]) else "ndcg@100"

    @property
    def direction(self) -> Direction:
        """Where better values are."""
        return "minimize" if self.metric == "rmse" else "maximize"

    def best_of(self, outcomes: Sequence[Outcome]) -> Outcome | None:
        """Pick the best finished run; the earlier one of equals."""
        ended = [outcome for outcome in outcomes if outcome.state == "complete"]
        sign = -1 if self.direction == "maximize" else 1
        return min(ended, key=lambda outcome: sign * (outcome.value or 0.0), default=None)


@final
@dataclass(frozen=True, slots=True)
class Tuning:
    """What a search found.

    Attributes:
        outcomes: All finished trials, those of earlier starts among them; the preset's first.
        interrupted: Whether Ctrl-C ended it early.
    """

    outcomes: tuple[Outcome, ...]
    interrupted: bool


def reads_ratings(model: str) -> bool:
    """Tell whether a model learns ratings and not choices."""
    return bool(getattr(ARCHITECTURES[model].module, "reads_ratings", False))


def search_for(
    model: str, given: Mapping[str, Any], num_interactions: int, storage: Path, num_trials: int
) -> Search:
    """Plan a search: what was given stays as it is, the rest starts from the preset.

    Raises:
        BadInputError: There is no space for the model, or nothing left of it to choose.
    """
    if model not in SPACES or model not in ARCHITECTURES:
        known = ", ".join(name for name in SPACES if name in ARCHITECTURES)
        raise BadInputError(f"tune knows no ranges for {model!r}; it does for: {known}")
    said = {**given, **given.get("architecture", {})}
    said.pop("architecture", None)
    settings = {**preset(model, num_interactions), **said, "model": model}
    TrainingConfig.of(settings)
    space = {
        name: _including(values, _start_of(name, settings))
        for name, values in SPACES[model].items()
        if name not in said
    }
    if not space:
        given_names = ", ".join(SPACES[model])
        raise BadInputError(
            f"nothing to tune: all that tune would choose for {model} is given ({given_names})"
        )
    return Search(settings, space, storage, num_trials)


def tune(search: Search, dataset: Dataset, watcher: Watcher, hear: Hear) -> Tuning:
    """Run trials until there are enough; the first one is the preset.

    Killed and started again, it proposes what it would have proposed: the sampler is seeded by
    the number of finished trials, and what was not finished does not count.

    Args:
        search: From ``search_for``.
        dataset: Trained on and validated with; its test users play no part.
        watcher: Told of every step and epoch of every run.
        hear: Told of every finished trial, and of the best so far.

    Raises:
        BadInputError: The file is of another search.
    """
    study = open_study(
        search.storage, dataset.fingerprint, search.settings, search.space, search.direction
    )
    epochs = TrainingConfig.of(search.settings).epochs
    study.pruner = optuna.pruners.MedianPruner(
        n_startup_trials=UNPRUNED_TRIALS, n_warmup_steps=1 + math.ceil(epochs * WARM_UP_SHARE)
    )
    outcomes = outcomes_of(study, search.space)
    started_s = search.clock()
    try:
        while len(outcomes) < search.num_trials:
            if search.timeout_s is not None and search.clock() - started_s >= search.timeout_s:
                break
            run = _run_proposal if outcomes else _run_preset
            outcomes.append(run(study, search, dataset, watcher))
            hear(outcomes[-1], search.best_of(outcomes))
    except KeyboardInterrupt:  # what is finished is in the file
        return Tuning(tuple(outcomes), interrupted=True)
    return Tuning(tuple(outcomes), interrupted=False)


def _run_preset(study: optuna.Study, search: Search, dataset: Dataset, watcher: Watcher) -> Outcome:
    """Run what ``foldin train`` would, and enter it among the trials that the sampler learns from.

    The study does not propose it, it is added: settings that validation chooses, such as the l2
    of an EASE, have a value only afterwards.
    """
    config = TrainingConfig.of(search.settings)
    ended = run_trial(config, dataset, search.metric, watcher, lambda _epoch, _value: False)
    params = {}
    if ended.result is not None:
        params = {
            name: _nearest(values, _start_of(name, search.settings, ended.result.model.config))
            for name, values in search.space.items()
        }
    study.add_trial(
        create_trial(
            state=ended.state,
            value=ended.value,
            params=params,
            distributions={name: distribution_of(search.space[name]) for name in params},
            intermediate_values=dict(ended.curve),
            user_attrs={**ended.facts, PRESET: True},
        )
    )
    return outcome_of(study.trials[-1], search.space, 0)


def _run_proposal(
    study: optuna.Study, search: Search, dataset: Dataset, watcher: Watcher
) -> Outcome:
    """Ask for settings, run them, tell how it went."""
    finished = outcomes_of(study, search.space)
    chance = np.random.SeedSequence((TrainingConfig.of(search.settings).seed, len(finished)))
    study.sampler = optuna.samplers.TPESampler(
        seed=int(chance.generate_state(1)[0]), constant_liar=False
    )
    trial = study.ask({name: distribution_of(values) for name, values in search.space.items()})
    model = search.settings["model"]

    def falls_behind(epoch: int, value: float) -> bool:
        if model in SEVERAL_RUNS:
            return False
        trial.report(value, epoch)
        return trial.should_prune()

    config = TrainingConfig.of({**search.settings, **chosen(search.space, trial.params)})
    ended = run_trial(config, dataset, search.metric, watcher, falls_behind)
    for name, fact in ended.facts.items():
        trial.set_user_attr(name, fact)
    # A pruned trial has the value of its last report.
    value = ended.value if ended.state == TrialState.COMPLETE else None
    told = study.tell(trial, value, ended.state)
    return outcome_of(told, search.space, len(finished))


def _start_of(name: str, settings: Mapping[str, Any], resolved: object = None) -> Any:  # noqa: ANN401 - a setting
    """Give a setting's value before any search: said, or the default, or what the fit chose."""
    if name in settings:
        return settings[name]
    if name in TrainingConfig.model_fields:
        return TrainingConfig.model_fields[name].default
    fields = dataclasses.fields(ARCHITECTURES[settings["model"]].config)
    default = next(field.default for field in fields if field.name == name)
    return getattr(resolved, name, None) if default is None else default


def _including(values: Range, start: Any) -> Range:  # noqa: ANN401 - a setting
    """Add the start to a choice that lacks it."""
    if not isinstance(values, Choice):
        return values
    known = [label(option) for option in values.options]
    plain = orjson.loads(orjson.dumps(start))
    return values if label(plain) in known else Choice((*values.options, plain))


def _nearest(values: Range, start: Any) -> Any:  # noqa: ANN401 - a setting
    """Express a value within a range: no weight decay is the least there is of it."""
    if isinstance(values, Choice):
        return label(orjson.loads(orjson.dumps(start)))
    return min(max(start, values.low), values.high)
