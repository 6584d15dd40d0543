"""``foldin train``: a log in, a bundle out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from service.autoencoders import ARCHITECTURES
from training.config import TrainingConfig, parse_setting, read_toml
from training.data.datasets import Dataset
from training.experiment import Experiment, run_experiment
from training.posterior import ACTIVE_KL
from training.presets import preset
from training.progress import TrainingProgress, results_table
from training.verbs.options import (
    ColumnsOption,
    DataArgument,
    Device,
    ItemsOption,
    OutOption,
    ProtocolOption,
    SetOption,
    SplitSeedOption,
    ThresholdOption,
    console,
    data_options,
    load,
    refuse_other_model,
    refuse_unwritable,
    write_json,
)


def train(
    data: DataArgument,
    model: Annotated[str, typer.Option(help=f"One of: {', '.join(ARCHITECTURES)}.")],
    out: OutOption,
    *,
    items: ItemsOption = None,
    columns: ColumnsOption = "",
    protocol: ProtocolOption = "strong",
    positive_threshold: ThresholdOption = None,
    split_seed: SplitSeedOption = 98765,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    set_: SetOption = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the users, at most.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Users a step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Start of all chance in training.")] = None,
    device: Annotated[Device | None, typer.Option(help="Where to compute. [auto]")] = None,
    threads: Annotated[int | None, typer.Option(help="Torch threads. [one per core]")] = None,
    resume: Annotated[bool, typer.Option(help="Go on where an interrupted run was.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the record of the run here.")] = None,
) -> None:
    """Train a model; write a bundle to OUT/<version>/ and point OUT/CURRENT at it.

    One run at a time may write to OUT. Ctrl-C keeps the best epoch so far and ends with code 1;
    after it, or after a crash, the same command with --resume goes on.
    """
    given = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "device": device}
    chosen = _chosen(config, set_, given | {"threads": threads})
    refuse_other_model(model, chosen)
    TrainingConfig.of({"model": model} | chosen)  # a typo shows before the data is read
    refuse_unwritable(out, json)
    how = {"split_seed": split_seed, "ratings": ARCHITECTURES[model].module.reads_ratings}
    dataset = load(data, data_options(items, columns, protocol, positive_threshold, **how))
    resolved = TrainingConfig.of(preset(model, dataset.split.train.nnz) | chosen)
    experiment = train_and_tell(dataset, resolved, out, resume=resume)
    if json:
        write_json(json, experiment.to_dict())
    if experiment.result.interrupted:
        raise typer.Exit(1)


def _chosen(
    config: Path | None, set_: Sequence[str] | None, given: Mapping[str, object]
) -> dict[str, Any]:
    """Put the settings together: options win over --set, and --set over the file."""
    return {
        **(read_toml(config) if config else {}),
        **dict(parse_setting(text) for text in set_ or []),
        **{key: value for key, value in given.items() if value is not None},
    }


def train_and_tell(
    dataset: Dataset, config: TrainingConfig, out: Path, *, resume: bool
) -> Experiment:
    """Run an experiment under a progress bar; print its table and where the checkpoint is."""
    with TrainingProgress(console, config.epochs, dataset.split.train.shape[0]) as progress:
        experiment = run_experiment(dataset, config, out, progress, resume=resume)
    console.print(results_table(experiment))
    result = experiment.result
    if result.interrupted:
        console.print(
            f"interrupted: {out}/CURRENT names the best epoch so far (train --resume goes on)",
            highlight=False,
            soft_wrap=True,
        )
    for name, fact in result.facts.items():
        console.print(f"{name}: {fact}", highlight=False, soft_wrap=True)
    if experiment.posterior:
        active, dimensions = (
            experiment.posterior[key] for key in ("active_dimensions", "dimensions")
        )
        console.print(
            f"{active} of {dimensions} latent dimensions are active (KL > {ACTIVE_KL})",
            highlight=False,
        )
    console.print(
        f"{_epochs(experiment)}{result.seconds:.0f} s, {result.users_per_second:,.0f} users/s; "
        f"checkpoint {experiment.bundle}",
        highlight=False,
        soft_wrap=True,
    )
    return experiment


def _epochs(experiment: Experiment) -> str:
    result = experiment.result  # a closed form has no epochs
    return f"best epoch {result.best_epoch} of {len(result.reports)}, " if result.reports else ""
