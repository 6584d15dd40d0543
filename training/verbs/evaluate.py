"""``foldin evaluate``: the figures of a bundle on held-out users."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from service import checkpoint
from service.autoencoders.base import Autoencoder
from service.checkpoint import Checkpoint
from service.device import pick_device
from service.ranker import ModelRanker
from training.controls import controls_table, measure_controls
from training.data.datasets import DataOptions, Dataset
from training.data.split import HeldOut
from training.errors import BadInputError
from training.evaluate import aligned, evaluate_by_history_length
from training.measurement import Figures
from training.progress import metrics_table
from training.rating_metrics import measure_part
from training.verbs.options import (
    CacheOption,
    ColumnsOption,
    DataArgument,
    DeviceOption,
    NoCacheOption,
    Protocol,
    cache_folder,
    console,
    data_options,
    load,
    write_json,
)

# Of a split that a bundle names; one that the log gave itself is in the log again.
PROTOCOLS: Final[Mapping[str, Protocol]] = {"weak": "weak", "time": "time"}


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
    controls: Annotated[
        bool,
        typer.Option(help="Measure lists of 20 under the controls of the service, too."),
    ] = False,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Measure a bundle on the held-out users of a log."""
    loaded = checkpoint.load(checkpoint_path, pick_device(device))
    ratings = loaded.model.reads_ratings
    options = _options(loaded, columns, protocol, positive_threshold)
    cached = {"cache": cache_folder(cache, no_cache=no_cache)}
    dataset = load(data, options.model_copy(update=cached))
    if dataset.fingerprint != loaded.manifest.data.get("fingerprint"):
        console.print(
            "not the data and split of the training: users measured here may have been trained on",
            style="yellow",
        )
    test = aligned(dataset.split.test, dataset.split.item_ids, loaded)
    if not test.target.nnz:
        raise BadInputError(f"{data}: no test user has a target that the model's catalogue knows")
    metrics = _measured(loaded.model, test, dataset)
    asked = "test ratings" if ratings else "test users"
    console.print(metrics_table(metrics, f"{loaded.manifest.name} {loaded.version}, {asked}"))
    record: dict[str, object] = {part: own.to_dict() for part, own in metrics.items()}
    if controls and not ratings:
        record["controls"] = _under_controls(loaded, test)
    if json:
        write_json(json, record)


def _options(
    loaded: Checkpoint,
    columns: str,
    protocol: Protocol | None,
    positive_threshold: float | None,
) -> DataOptions:
    """Read a log as the training did, but for what is asked otherwise."""
    trained_on = loaded.manifest.data
    if positive_threshold is None:
        positive_threshold = loaded.manifest.positive_threshold
    how = protocol or str(trained_on.get("protocol")).removesuffix("-ratings")
    drawn = PROTOCOLS.get(how, "strong")
    seed = {"split_seed": trained_on["split_seed"]} if "split_seed" in trained_on else {}
    ratings = loaded.model.reads_ratings
    return data_options(None, columns, drawn, positive_threshold, ratings=ratings, **seed)


def _under_controls(loaded: Checkpoint, test: HeldOut) -> dict[str, dict[str, float]]:
    figures = measure_controls(ModelRanker(loaded.model), loaded.catalog, test)
    console.print(controls_table(figures))
    return {name: asdict(own) for name, own in figures.items()}


def _measured(model: Autoencoder, test: HeldOut, dataset: Dataset) -> Mapping[str, Figures]:
    if dataset.ratings is not None:
        return measure_part(model, "test", test, dataset.ratings)
    return evaluate_by_history_length(ModelRanker(model), test)
