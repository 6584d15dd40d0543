"""``foldin evaluate``: the figures of a bundle on held-out users."""

from pathlib import Path
from typing import Annotated

import typer

from service import checkpoint
from service.device import pick_device
from service.ranker import ModelRanker
from training.errors import BadInputError
from training.evaluate import aligned, evaluate_by_history_length
from training.progress import metrics_table
from training.verbs.options import (
    ColumnsOption,
    DataArgument,
    DeviceOption,
    Protocol,
    console,
    data_options,
    load,
    write_json,
)


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
    dataset = load(data, data_options(None, columns, drawn, positive_threshold))
    if dataset.fingerprint != trained_on.get("fingerprint"):
        console.print(
            "not the data and split of the training: users measured here may have been trained on",
            style="yellow",
        )
    test = aligned(dataset.split.test, dataset.split.item_ids, loaded)
    metrics = evaluate_by_history_length(ModelRanker(loaded.model), test)
    if not metrics["all"].users:
        raise BadInputError(f"{data}: no test user has a target that the model's catalogue knows")
    console.print(metrics_table(metrics, f"{loaded.manifest.name} {loaded.version}, test users"))
    if json:
        write_json(json, {part: measured.to_dict() for part, measured in metrics.items()})
