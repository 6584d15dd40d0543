"""The ``foldin`` command: one thin function per verb."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer
from rich.console import Console

from service import canaries, checkpoint
from service.__main__ import serve as run_service
from service.checkpoint import Checkpoint
from service.device import pick_device
from service.errors import FoldinError, SettingsError
from service.retrieval.exact import ExactRetriever
from service.settings import Settings
from training.config import TrainingConfig, parse_setting, read_toml
from training.data.datasets import DataOptions, Dataset, load_dataset
from training.errors import BadInputError
from training.evaluate import AutoencoderRanker, aligned, evaluate_by_history_length
from training.experiment import Experiment, run_experiment
from training.presets import preset
from training.progress import TrainingProgress, metrics_table, results_table

app = typer.Typer(
    help="Train autoencoder recommenders, measure them, serve them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help stays whole: "[auto]" is a default and no tag
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()

Device = Literal["auto", "cpu", "cuda"]
Protocol = Literal["strong", "weak", "time"]

DataArgument = Annotated[
    str,
    typer.Argument(help="A CSV, TSV, JSON Lines or Parquet log, a glob, or 'movielens-small'."),
]
CheckpointArgument = Annotated[
    Path, typer.Argument(help="A bundle, or a model directory with a CURRENT file.")
]
ItemsOption = Annotated[
    Path | None, typer.Option(help="Items file: item_id, title, categories (text split at '|').")
]
ColumnsOption = Annotated[
    str, typer.Option(help="Names in your files: 'user_id=uid,item_id=movieId,categories=genres'.")
]
ProtocolOption = Annotated[
    Protocol, typer.Option(help="How to hold users out, unless the log has a 'split' column.")
]
ThresholdOption = Annotated[
    float | None, typer.Option(help="Ratings from here up are positive. [1-5 scales: 4]")
]
OutOption = Annotated[Path, typer.Option(help="Model directory: gets <version>/ and CURRENT.")]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto prefers CUDA.")]


@app.callback(epilog="Any verb takes --debug: show the traceback of an error.")
def verbs() -> None:
    """Train autoencoder recommenders, measure them, serve them."""


@app.command()
def demo(
    *,
    port: Annotated[int, typer.Option(help="Port of the page and the API.")] = 8000,
    serve: Annotated[bool, typer.Option(help="Serve the model once it is trained.")] = True,
    out: OutOption = Path("foldin-demo"),
    epochs: Annotated[int | None, typer.Option(help="Passes over the users, at most.")] = None,
) -> None:
    """From nothing to a page of recommendations: MovieLens, Mult-VAE, the service."""
    dataset = _load("movielens-small", DataOptions())
    settings = preset("multvae", dataset.split.train.nnz)
    config = TrainingConfig.of(settings | ({} if epochs is None else {"epochs": epochs}))
    _train(dataset, config, out, resume=False)
    if serve:
        console.print(f"serving on http://127.0.0.1:{port} (Ctrl-C stops it)", highlight=False)
        run_service(Settings(model_dir=out, port=port, log_format="console"))


@app.command()
def train(
    data: DataArgument,
    model: Annotated[str, typer.Option(help="multvae or cdae.")],
    out: OutOption,
    *,
    items: ItemsOption = None,
    columns: ColumnsOption = "",
    protocol: ProtocolOption = "strong",
    positive_threshold: ThresholdOption = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, repeatable; wins over --config.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the users, at most.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Users a step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Start of all chance in training.")] = None,
    device: Annotated[Device | None, typer.Option(help="Where to compute. [auto]")] = None,
    threads: Annotated[int | None, typer.Option(help="Torch threads. [one per core]")] = None,
    resume: Annotated[bool, typer.Option(help="Go on where an interrupted run was.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the record of the run here.")] = None,
) -> None:
    """Train a model; write a bundle to OUT/<version>/ and point OUT/CURRENT at it."""
    given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "device": device,
        "threads": threads,
    }
    chosen = {
        **(read_toml(config) if config else {}),
        **dict(parse_setting(text) for text in set_ or []),
        **{key: value for key, value in given.items() if value is not None},
    }
    TrainingConfig.of({"model": model} | chosen)  # a typo shows before the data is read
    _refuse_unwritable(out, json)
    dataset = _load(data, _data_options(items, columns, protocol, positive_threshold))
    resolved = TrainingConfig.of(preset(model, dataset.split.train.nnz) | chosen)
    experiment = _train(dataset, resolved, out, resume=resume)
    if json:
        _write_json(json, experiment.to_dict())


@app.command()
def evaluate(
    checkpoint_path: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A bundle.")],
    data: DataArgument,
    *,
    columns: ColumnsOption = "",
    protocol: Annotated[
        Protocol | None, typer.Option(help="How to hold users out. [as in training]")
    ] = None,
    positive_threshold: Annotated[
        float | None, typer.Option(help="Ratings from here up are positive. [as in training]")
    ] = None,
    device: DeviceOption = "auto",
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Measure a bundle on the held-out users of a log."""
    loaded = checkpoint.load(checkpoint_path, pick_device(device))
    trained_on = loaded.manifest.data
    if positive_threshold is None:
        positive_threshold = loaded.manifest.positive_threshold
    how = protocol or trained_on.get("protocol")
    drawn: Protocol = how if how in {"weak", "time"} else "strong"
    dataset = _load(data, _data_options(None, columns, drawn, positive_threshold))
    if dataset.fingerprint != trained_on.get("fingerprint"):
        console.print(
            "not the data and split of the training: users measured here may have been trained on",
            style="yellow",
        )
    test = aligned(dataset.split.test, dataset.split.item_ids, loaded)
    metrics = evaluate_by_history_length(AutoencoderRanker(loaded.model), test)
    if not metrics["all"].users:
        raise BadInputError(f"{data}: no test user has a target that the model's catalogue knows")
    console.print(metrics_table(metrics, f"{loaded.manifest.name} {loaded.version}, test users"))
    if json:
        _write_json(json, {part: measured.to_dict() for part, measured in metrics.items()})


@app.command()
def inspect(path: CheckpointArgument) -> None:
    """Show what a bundle holds: origin, sizes, metrics, digest."""
    loaded = checkpoint.load(path)
    shown: dict[str, Any] = loaded.manifest.model_dump(mode="json")
    console.print_json(data={"digest": loaded.digest, "version": loaded.version, **shown})


@app.command()
def verify(path: CheckpointArgument, device: DeviceOption = "auto") -> None:
    """Check every digest of a bundle and replay its canaries."""
    loaded = checkpoint.load(path, pick_device(device))
    _replay(loaded)
    console.print(
        f"{loaded.version}: {len(loaded.manifest.files)} files as written, "
        f"{len(loaded.canaries)} canaries answered as by the trainer",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def serve(
    model_dir: Annotated[Path, typer.Argument(metavar="DIR", help="Model directory or bundle.")],
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes.")] = None,
    device: Annotated[Device | None, typer.Option(help="Where to compute.")] = None,
) -> None:
    """Serve a model directory; what is not said here comes from FOLDIN_ variables."""
    given = {"host": host, "port": port, "workers": workers, "device": device}
    chosen: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    run_service(Settings(model_dir=model_dir, **chosen))


def main() -> None:
    """Run the command; an error is one line and an exit code (2: bad usage or input)."""
    errors = Console(stderr=True)
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(arguments)
    except (FoldinError, OSError) as error:
        if len(arguments) < len(sys.argv[1:]):
            errors.print_exception()
        errors.print(f"foldin: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, BadInputError | SettingsError) else 1)


def _train(dataset: Dataset, config: TrainingConfig, out: Path, *, resume: bool) -> Experiment:
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
    console.print(
        f"best epoch {result.best_epoch} of {len(result.reports)}, {result.seconds:.0f} s, "
        f"{result.users_per_second:,.0f} users/s; checkpoint {experiment.bundle}",
        highlight=False,
        soft_wrap=True,
    )
    return experiment


def _load(source: str, data_options: DataOptions) -> Dataset:
    dataset = load_dataset(source, data_options)
    num_users, num_items = dataset.split.train.shape
    console.print(
        f"{dataset.name}: {num_users:,} training users, {num_items:,} items, "
        f"{dataset.split.train.nnz:,} interactions",
        highlight=False,
    )
    for note in dataset.notes:
        console.print(note, highlight=False, soft_wrap=True)
    return dataset


def _data_options(
    items: Path | None, columns: str, protocol: Protocol, positive_threshold: float | None
) -> DataOptions:
    pairs = [pair.partition("=") for pair in columns.split(",") if pair.strip()]
    if any(not (ours.strip() and theirs.strip()) for ours, _, theirs in pairs):
        raise BadInputError(f"--columns {columns!r}: write user_id=uid,item_id=movieId")
    return DataOptions(
        items=items,
        columns={ours.strip(): theirs.strip() for ours, _, theirs in pairs},
        protocol=protocol,
        positive_threshold=positive_threshold,
    )


def _refuse_unwritable(out: Path, json: Path | None) -> None:
    """Refuse before the training what would fail after it; nothing is made yet."""
    if out.exists() and not out.is_dir():
        raise BadInputError(f"--out {out} is a file; name a folder")
    if json is not None and json.is_dir():
        raise BadInputError(f"--json {json} is a folder; name a file")
    for path in (out, json):
        there = next((p for p in (path, *path.parents) if p.exists()), None) if path else None
        if there is not None and not os.access(there, os.W_OK):
            raise BadInputError(f"{path}: {there} cannot be written to")


def _replay(loaded: Checkpoint) -> None:
    retriever = ExactRetriever(loaded.model.item_vectors_IH, loaded.model.item_bias_I)
    canaries.replay(loaded.model, retriever, loaded.canaries)


def _write_json(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2) + b"\n")
