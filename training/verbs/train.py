"""``foldin train``: a log in, a bundle out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from service.autoencoders import ARCHITECTURES
from training.config import TrainingConfig, parse_setting, read_toml
from training.data.datasets import DataOptions, Dataset
from training.distributed import World
from training.experiment import Experiment, run_experiment, take_part
from training.loss_choice import LossChoice, choose_loss
from training.posterior import ACTIVE_KL
from training.presets import preset
from training.progress import TrainingProgress, results_table
from training.torchrun import joined
from training.verbs.options import (
    CacheOption,
    ColumnsOption,
    DataArgument,
    Device,
    ItemsOption,
    NoCacheOption,
    OutOption,
    ProtocolOption,
    SetOption,
    SplitSeedOption,
    ThresholdOption,
    cache_folder,
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
    loss: Annotated[
        LossChoice | None, typer.Option(help="Sum over all items, or a sample. [by their number]")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the users, at most.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Users a step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Start of all chance in training.")] = None,
    device: Annotated[Device | None, typer.Option(help="Where to compute. [auto]")] = None,
    threads: Annotated[int | None, typer.Option(help="Torch threads. [one per core]")] = None,
    resume: Annotated[bool, typer.Option(help="Go on where an interrupted run was.")] = False,
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    json: Annotated[Path | None, typer.Option(help="Write the record of the run here.")] = None,
) -> None:
    """Train a model; write a bundle to OUT/<version>/ and point OUT/CURRENT at it.

    One run at a time may write to OUT. Ctrl-C keeps the best epoch so far and ends with code 1;
    after it, or after a crash, the same command with --resume goes on. Several processes, on one
    machine or more, train one model: torchrun --nproc-per-node 2 -m training train ...
    """
    given = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "device": device}
    chosen = _chosen(config, set_, given | {"threads": threads})
    refuse_other_model(model, chosen)
    # A typo, or a loss that is not for the model, shows before the data is read.
    choose_loss({"model": model} | chosen, 0, loss)
    how = {
        "split_seed": split_seed,
        "ratings": ARCHITECTURES[model].module.reads_ratings,
        "cache": cache_folder(cache, no_cache=no_cache),
    }
    options = data_options(items, columns, protocol, positive_threshold, **how)
    with joined() as world, _silence(wanted=not world.is_first):
        if world.is_first:
            refuse_unwritable(out, json)
        dataset = _loaded(data, options, world)
        num_items, size = dataset.split.train.shape[1], dataset.split.train.nnz
        resolved, told = choose_loss(preset(model, size) | chosen, num_items, loss)
        if told:
            console.print(told, highlight=False, soft_wrap=True)
        if not world.is_first:
            result = take_part(dataset, resolved, out, world, resume=resume)
        else:
            experiment = train_and_tell(dataset, resolved, out, resume=resume, world=world)
            result = experiment.result
            if json:
                write_json(json, experiment.to_dict())
    if result.interrupted:
        raise typer.Exit(1)


@contextmanager
def _silence(*, wanted: bool) -> Iterator[None]:
    """Print nothing: of several processes the first tells."""
    console.quiet = wanted
    try:
        yield
    finally:
        console.quiet = False


def _loaded(data: str, options: DataOptions, world: World) -> Dataset:
    """Read a data set; what the first process keeps of it for later, the others use."""
    with world.in_turn():
        return load(data, options)


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
    dataset: Dataset,
    config: TrainingConfig,
    out: Path,
    *,
    resume: bool,
    world: World | None = None,
) -> Experiment:
    """Run an experiment under a progress bar; print its table and where the checkpoint is."""
    with TrainingProgress(console, config.epochs, dataset.split.train.shape[0]) as progress:
        experiment = run_experiment(dataset, config, out, progress, resume=resume, world=world)
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
