"""The file of a search: which trials there were, under which settings, on which data.

A journal: one JSON line for everything that happens, appended. It outlives an interruption, and
holds nothing that could execute.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, final

import optuna
import orjson
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from training.errors import BadInputError
from training.search_spaces import Choice, Range, Space, Whole

# What runs may differ in and still belong to one study.
INCIDENTAL: Final = frozenset({"device", "threads"})
PRESET: Final = "preset"
State = Literal["complete", "pruned", "failed"]
Direction = Literal["maximize", "minimize"]
STATES: Final[Mapping[TrialState, State]] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one trial.

    Attributes:
        number: Of finished ones, from 0; the preset's is 0.
        state: ``pruned``: stopped on the way; ``failed``: its loss was not finite.
        value: The measure on validation users: of the best epoch, or of the last one of a pruned
            trial; None if it failed.
        settings: The values that the search chose; none for the preset.
        facts: Told beside: seconds, epochs, the reason of a failure.
    """

    number: int
    state: State
    value: float | None
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]


def distribution_of(values: Range) -> BaseDistribution:
    """Say a range in the words of the sampler."""
    if isinstance(values, Choice):
        return CategoricalDistribution([label(option) for option in values.options])
    if isinstance(values, Whole):
        return IntDistribution(values.low, values.high, log=True)
    return FloatDistribution(values.low, values.high, log=values.log)


def label(option: object) -> str | int | float | bool:
    """Name an option of a choice as the journal can hold it."""
    return option if isinstance(option, str | int | float) else orjson.dumps(option).decode()


def chosen(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings that a trial's parameters stand for."""
    settings: dict[str, Any] = {}
    for name, value in params.items():
        values = space[name]
        if isinstance(values, Choice):
            settings[name] = {label(option): option for option in values.options}[value]
        else:
            settings[name] = value
    return settings


def open_study(
    storage: Path, fingerprint: str, settings: Mapping[str, Any], space: Space, direction: Direction
) -> optuna.Study:
    """Open the study of a model, or start it.

    Args:
        storage: The journal; made if it is not there. It may hold studies of other models.
        fingerprint: Of the data.
        settings: Of every trial, as far as the search does not choose them; ``model`` among them.
        space: What it chooses.
        direction: ``maximize`` or ``minimize``.

    Raises:
        BadInputError: The file is no journal, or holds a study that these trials do not fit.
    """
    identity = {
        "data": fingerprint,
        "settings": {key: value for key, value in settings.items() if key not in INCIDENTAL},
        "space": {name: repr(values) for name, values in space.items()},
    }
    _refuse_other_files(storage)
    storage.parent.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the verb tells of every trial itself
    try:
        study = _study_in(JournalStorage(JournalFileBackend(str(storage))), settings, direction)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{storage} is damaged, or no file of a study: {error}") from error
    if "identity" not in study.user_attrs:
        study.set_user_attr("identity", identity)
    _refuse_other_studies(storage, study.user_attrs["identity"], identity)
    return study


def outcomes_of(study: optuna.Study, space: Space) -> list[Outcome]:
    """Give what is finished, in order; what was interrupted on the way is not."""
    finished = [trial for trial in study.trials if _is_finished(trial)]
    return [outcome_of(trial, space, number) for number, trial in enumerate(finished)]


def _is_finished(trial: FrozenTrial) -> bool:
    ended = trial.state in {TrialState.COMPLETE, TrialState.PRUNED}
    return ended or (trial.state == TrialState.FAIL and "reason" in trial.user_attrs)


def outcome_of(trial: FrozenTrial, space: Space, number: int) -> Outcome:
    """Read a finished trial, so many of which there were before."""
    facts = {key: value for key, value in trial.user_attrs.items() if key != PRESET}
    settings = {} if PRESET in trial.user_attrs else chosen(space, trial.params)
    return Outcome(number, STATES[trial.state], trial.value, settings, facts)


def _study_in(
    journal: JournalStorage, settings: Mapping[str, Any], direction: Direction
) -> optuna.Study:
    name = settings["model"]
    if name in optuna.get_all_study_names(journal):
        return optuna.load_study(study_name=name, storage=journal)
    return optuna.create_study(study_name=name, storage=journal, direction=direction)


def _refuse_other_files(storage: Path) -> None:
    if storage.is_dir():
        raise BadInputError(f"{storage} is a folder; name a file")
    if storage.exists():
        with storage.open("rb") as file:
            if file.read(1) not in {b"", b"{"}:  # it would be appended to
                raise BadInputError(f"{storage} is no file of a study; name another")


def _refuse_other_studies(
    storage: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    model = wanted["settings"]["model"]
    if found["data"] != wanted["data"]:
        raise BadInputError(f"{storage} holds a study of {model} on other data; name another file")
    for part in ("settings", "space"):
        ours, theirs = wanted[part], found[part]
        names = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        if names:
            raise BadInputError(
                f"{storage} holds a study of {model} with other {part} ({', '.join(names)}); "
                "name another file"
            )
