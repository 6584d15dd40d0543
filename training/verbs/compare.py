"""``foldin compare``: models and rivals on one log, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer

from training.comparison.compare import Plan, run_plan
from training.comparison.entrants import contenders, default_names, parse_settings
from training.comparison.journal import DataFacts, Journal
from training.comparison.progress import ComparisonProgress
from training.comparison.report import write_report
from training.comparison.summary import Row, summarize
from training.comparison.tables import comparison_tables
from training.data.datasets import Dataset
from training.errors import BadInputError
from training.verbs.options import (
    CacheOption,
    ColumnsOption,
    DataArgument,
    Device,
    NoCacheOption,
    ProtocolOption,
    ThresholdOption,
    cache_folder,
    console,
    data_options,
    load,
    refuse_unwritable,
)

ModelsOption = Annotated[
    str, typer.Option(help="Names, commas between: models, popularity, item-knn, ials. [all]")
]
SeedsOption = Annotated[int, typer.Option(min=1, help="Fits of whatever depends on chance.")]
ReportOption = Annotated[
    Path | None, typer.Option(help="Write tables and plots here, as one HTML file.")
]
JsonOption = Annotated[
    Path | None,
    typer.Option(help="Keep every run here; the same command again makes the missing ones only."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="model.key=value, or key=value for all models; repeatable."),
]
DeviceOption = Annotated[Device | None, typer.Option(help="Where to compute. [auto]")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="Torch threads. [one per core]")]


def compare(
    data: DataArgument,
    *,
    models: ModelsOption = "",
    seeds: SeedsOption = 3,
    columns: ColumnsOption = "",
    protocol: ProtocolOption = "strong",
    positive_threshold: ThresholdOption = None,
    set_: SetOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    report: ReportOption = None,
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    json: JsonOption = None,
) -> None:
    """Fit models and rivals, choose on validation users, tell test users' figures, fastest first.

    Ctrl-C keeps and shows what is done; with --json the same command goes on from there.
    """
    names = [name.strip() for name in models.split(",") if name.strip()] or default_names()
    settings = parse_settings([*(set_ or []), *_as_settings(device, threads)], names)
    ratings = contenders(settings, 0)[0].reads_ratings  # a typo shows before the data is read
    _refuse_unwritable_files(report, json)
    if threads is not None:  # for the rivals; a model's run takes it from its config
        torch.set_num_threads(threads)
    how = {"ratings": ratings, "cache": cache_folder(cache, no_cache=no_cache)}
    dataset = load(data, data_options(None, columns, protocol, positive_threshold, **how))
    journal = Journal.open(dataset, json)
    plan = Plan(contenders(settings, dataset.split.train.nnz), seeds, journal)
    is_complete = _run_and_watch(plan, dataset, journal)
    rows = summarize(plan.contenders, journal)
    _tell(rows, journal.data)
    if report:
        write_report(report, rows, journal.data)
        console.print(f"report: {report}", highlight=False, soft_wrap=True)
    if not is_complete:
        again = "; the same command goes on from here" if json else "; with --json it could go on"
        console.print(f"interrupted{again}", highlight=False)
    if not is_complete or not any(row.runs for row in rows):
        raise typer.Exit(1)


def _as_settings(device: Device | None, threads: int | None) -> list[str]:
    given = {"device": device, "threads": threads}
    return [f"{key}={value}" for key, value in given.items() if value is not None]


def _refuse_unwritable_files(report: Path | None, json: Path | None) -> None:
    if report is not None and report.is_dir():
        raise BadInputError(f"--report {report} is a folder; name a file")
    refuse_unwritable(report.parent if report else Path(), json)


def _run_and_watch(plan: Plan, dataset: Dataset, journal: Journal) -> bool:
    done = len(plan.fits) - len(plan.missing)
    if done:
        console.print(f"{done} of {len(plan.fits)} fits are there already", highlight=False)
    with ComparisonProgress(console, len(plan.fits), done) as progress:
        return run_plan(plan, dataset, journal, progress)


def _tell(rows: Sequence[Row], data: DataFacts) -> None:
    for table in comparison_tables(rows, data):
        console.print(table)
    for row in rows:
        if row.failed:
            console.print(f"{row.model} failed: {row.failed}", style="yellow", highlight=False)
