"""``foldin add-items``: new items for a trained model, known by their features alone."""

from pathlib import Path
from typing import Annotated

import typer

from training.cold_items import DEFAULT_LIFT
from training.cold_items import add_items as write_grown_bundle
from training.data.items import read_items
from training.verbs.options import (
    CheckpointArgument,
    ColumnsOption,
    JsonOption,
    console,
    data_options,
    refuse_unwritable,
    write_json,
)


def add_items(
    path: CheckpointArgument,
    items: Annotated[Path, typer.Argument(help="New items: item_id, title, categories.")],
    *,
    columns: ColumnsOption = "",
    out: Annotated[
        Path | None, typer.Option(help="Model directory to write to. [the bundle's own]")
    ] = None,
    lift: Annotated[
        float, typer.Option(help="Raise their scores by so many standard deviations.")
    ] = DEFAULT_LIFT,
    json: JsonOption = None,
) -> None:
    """Add items without interactions: their vectors are predicted from categories and titles.

    Writes a new bundle and points CURRENT at it; on error nothing is written.
    """
    if out is not None:
        refuse_unwritable(out, json)
    new = read_items(items, data_options(None, columns, "strong", None).columns)
    added = write_grown_bundle(path, new, out, lift=lift)
    cold = added.cold
    console.print(
        f"{cold.count:,} items added, predicted from {cold.features:,} features; "
        f"{cold.without_features:,} of them share none and are the average item",
        highlight=False,
        soft_wrap=True,
    )
    for table, explained in cold.explained.items():
        console.print(f"{table}: {explained:.0%} of the variance explained", highlight=False)
    console.print(f"checkpoint {added.bundle}", highlight=False, soft_wrap=True)
    if json:
        write_json(json, {"checkpoint": str(added.bundle), **cold.model_dump(mode="json")})
