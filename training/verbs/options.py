"""What the verbs share: options on the command line, the console, reading and writing."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import orjson
import typer
from rich.console import Console

from training.data.datasets import DataOptions, Dataset, load_dataset
from training.errors import BadInputError
from training.reading_progress import ReadingProgress

console: Final = Console()

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
SplitSeedOption = Annotated[int, typer.Option(min=0, help="Start of all chance in the split.")]
OutOption = Annotated[Path, typer.Option(help="Model directory: gets <version>/ and CURRENT.")]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto prefers CUDA.")]

CacheOption = Annotated[
    Path | None,
    typer.Option(help="Folder for large logs in the form they lie in memory. [~/.cache/foldin]"),
]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Read the files every time.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, repeatable; wins over --config.")
]
JsonOption = Annotated[Path | None, typer.Option(help="Write the record here.")]


def load(source: str, data_options: DataOptions) -> Dataset:
    """Read a data set, and say what was done to it; a slow reading is watched."""
    with ReadingProgress(console) as progress:
        dataset = load_dataset(source, data_options, progress)
    num_users, num_items = dataset.split.train.shape
    console.print(
        f"{dataset.name}: {num_users:,} training users, {num_items:,} items, "
        f"{dataset.split.train.nnz:,} interactions",
        highlight=False,
    )
    for note in dataset.notes:
        console.print(note, highlight=False, soft_wrap=True)
    return dataset


def data_options(
    items: Path | None,
    columns: str,
    protocol: Protocol,
    positive_threshold: float | None,
    **others: Any,  # noqa: ANN401 - further fields of DataOptions, which checks them
) -> DataOptions:
    """Gather the options on data; ``others`` are fields that not every verb offers.

    Raises:
        BadInputError: ``columns`` is not written as it should be.
    """
    pairs = [pair.partition("=") for pair in columns.split(",") if pair.strip()]
    if any(not (ours.strip() and theirs.strip()) for ours, _, theirs in pairs):
        raise BadInputError(f"--columns {columns!r}: write user_id=uid,item_id=movieId")
    return DataOptions(
        items=items,
        columns={ours.strip(): theirs.strip() for ours, _, theirs in pairs},
        protocol=protocol,
        positive_threshold=positive_threshold,
        **others,
    )


def cache_folder(cache: Path | None, *, no_cache: bool) -> Path | None:
    """Tell where logs are cached; None: nowhere, as where nobody has a home.

    Raises:
        BadInputError: Both options are given.
    """
    if cache is not None and no_cache:
        raise BadInputError("--cache and --no-cache do not go together; leave one out")
    if no_cache or cache is not None:
        return cache
    try:
        return Path.home() / ".cache" / "foldin"
    except RuntimeError:
        return None


def refuse_unwritable(out: Path, json: Path | None) -> None:
    """Refuse before the training what would fail after it; nothing is made yet."""
    if out.exists() and not out.is_dir():
        raise BadInputError(f"--out {out} is a file; name a folder")
    if json is not None and json.is_dir():
        raise BadInputError(f"--json {json} is a folder; name a file")
    for path in (out, json):
        there = next((p for p in (path, *path.parents) if p.exists()), None) if path else None
        if there is not None and there != path and not there.is_dir():
            raise BadInputError(f"{path}: {there} is a file and no folder")
        if there is not None and not os.access(there, os.W_OK):
            raise BadInputError(f"{path}: {there} cannot be written to")


def refuse_other_model(model: str, settings: Mapping[str, Any]) -> None:
    """Refuse settings, of a file or of ``--set``, that name another model than the command does."""
    named = settings.get("model", model)
    if named != model:
        raise BadInputError(f"the settings are of the model {named!r}, and --model is {model!r}")


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record as indented JSON; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2) + b"\n")
