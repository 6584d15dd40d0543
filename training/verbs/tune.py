"""``foldin tune``: a log in, better settings out."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from training.config import parse_setting, read_toml
from training.study import INCIDENTAL
from training.toml import to_toml
from training.tune import Search, Tuning, reads_ratings, search_for
from training.tune import tune as run_search
from training.tuning_progress import TuningProgress
from training.verbs.options import (
    CacheOption,
    ColumnsOption,
    DataArgument,
    Device,
    JsonOption,
    NoCacheOption,
    ProtocolOption,
    SetOption,
    ThresholdOption,
    cache_folder,
    console,
    data_options,
    load,
    refuse_other_model,
    refuse_unwritable,
    write_json,
)

ModelOption = Annotated[str, typer.Option(help="The model to find settings for.")]
TrialsOption = Annotated[int, typer.Option(min=1, help="Runs in all, the preset's included.")]
OutOption = Annotated[Path, typer.Option(help="Folder: gets the study, and MODEL.toml.")]
StorageOption = Annotated[
    Path | None, typer.Option(help="File of the study, to go on from. [OUT/study.jsonl]")
]
TimeoutOption = Annotated[
    float | None, typer.Option(min=0, help="No run starts after so many seconds.")
]
ConfigOption = Annotated[Path | None, typer.Option(help="TOML file of settings that stay.")]
EpochsOption = Annotated[int | None, typer.Option(help="Passes over the users, at most.")]
SeedOption = Annotated[int | None, typer.Option(help="Start of all chance.")]
ComputeOption = Annotated[Device | None, typer.Option(help="Where to compute. [auto]")]
ThreadsOption = Annotated[int | None, typer.Option(help="Torch threads. [one per core]")]


def tune(
    data: DataArgument,
    model: ModelOption,
    *,
    trials: TrialsOption = 30,
    out: OutOption = Path("foldin-tune"),
    storage: StorageOption = None,
    timeout_s: TimeoutOption = None,
    columns: ColumnsOption = "",
    protocol: ProtocolOption = "strong",
    positive_threshold: ThresholdOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    device: ComputeOption = None,
    threads: ThreadsOption = None,
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    json: JsonOption = None,
) -> None:
    """Search the settings of a model by validation NDCG@100; print the best as TOML.

    What is given (--set, --config, --epochs) stays as it is. The same command again goes on where
    it stopped. OUT/MODEL.toml is for train --config.
    """
    options = {"epochs": epochs, "seed": seed, "device": device, "threads": threads}
    given = _given(config, set_, options)
    refuse_other_model(model, given)
    file = storage or out / "study.jsonl"
    search_for(model, given, 0, file, trials)  # a typo shows before the data is read
    refuse_unwritable(out, json)
    how = data_options(None, columns, protocol, positive_threshold)
    more = {"ratings": reads_ratings(model), "cache": cache_folder(cache, no_cache=no_cache)}
    dataset = load(data, how.model_copy(update=more))
    search = search_for(model, given, dataset.split.train.nnz, file, trials)
    search = replace(search, timeout_s=timeout_s)
    with TuningProgress(console, search, dataset.split.train.shape[0]) as progress:
        tuning = run_search(search, dataset, progress, progress.on_trial)
    _keep(search, tuning, data, out)
    if json:
        about = {"data": dataset.name, "fingerprint": dataset.fingerprint}
        write_json(json, about | _record(search, tuning))
    if tuning.interrupted:
        raise typer.Exit(1)


def _given(config: Path | None, pairs: list[str] | None, options: dict[str, Any]) -> dict[str, Any]:
    return {
        **(read_toml(config) if config else {}),
        **dict(parse_setting(text) for text in pairs or []),
        **{key: value for key, value in options.items() if value is not None},
    }


def _keep(search: Search, tuning: Tuning, data: str, out: Path) -> None:
    """Print the best settings and write them to a file."""
    model, best = search.settings["model"], search.best_of(tuning.outcomes)
    if tuning.interrupted:
        _say("interrupted: the same command goes on from here")
    if best is None:
        _say("no run has come to its end: there are no best settings")
        return
    text = to_toml(_settings(search, best.settings))
    first = tuning.outcomes[0]
    preset_value = "failed" if first.value is None else f"{first.value:.4f}"
    _say(
        f"\n# {search.metric} on validation users: {best.value:.4f} (trial {best.number + 1} of "
        f"{len(tuning.outcomes)}); the preset: {preset_value}\n{text}"
    )
    path = out / f"{model}.toml"
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    _say(f"foldin train {data} --model {model} --config {path} --out DIR")


def _record(search: Search, tuning: Tuning) -> dict[str, Any]:
    best = search.best_of(tuning.outcomes)
    return {
        "model": search.settings["model"],
        "metric": search.metric,
        "interrupted": tuning.interrupted,
        "preset": tuning.outcomes[0].value if tuning.outcomes else None,
        "best": best and {**asdict(best), "settings": _settings(search, best.settings)},
        "trials": [asdict(outcome) for outcome in tuning.outcomes],
    }


def _settings(search: Search, chosen: Mapping[str, Any]) -> dict[str, Any]:
    whole = {**search.settings, **chosen}
    return {key: value for key, value in whole.items() if key not in INCIDENTAL}


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
