"""A comparison on the terminal."""

from collections.abc import Sequence
from typing import Final

from rich.table import Table

from training.comparison.journal import DataFacts
from training.comparison.summary import (
    ACCURACY,
    ACCURACY_WEAK,
    BEYOND,
    COST,
    FIT,
    NDCG,
    RATING,
    Figure,
    Measure,
    Row,
    history_bands,
    ndcg_by_history,
    predict_ratings,
    text_of,
)

BEST: Final = "*"


def comparison_tables(rows: Sequence[Row], data: DataFacts) -> list[Table]:
    """Set contenders in rows, fastest first: how right they are, for whom, and what it costs.

    Several tables, since one with all columns is wider than a terminal; none if every fit failed.
    """
    rows = [row for row in rows if row.runs]
    if not rows:
        return []
    title = f"{data.name}: {whom(rows, data)}"
    if predict_ratings(rows):
        tables = [_table(RATING, rows, title)]
    else:
        tables = [_table((FIT, *ACCURACY), rows, title)]
        if is_weak(data.protocol):
            tables.append(_table(ACCURACY_WEAK, rows, "recall_all: hits / all targets"))
        tables.append(_history_table(rows))
        tables.append(_table((*COST[1:], *BEYOND), rows, "cost, and the first 20 of every list"))
    tables[-1].caption = caption(rows)
    return tables


def whom(rows: Sequence[Row], data: DataFacts) -> str:
    """Say whom, or what, the figures are over."""
    if predict_ratings(rows):
        test = next(row.runs[0].test for row in rows if row.runs)
        return f"{test['ratings']:,} test ratings ({test['strays']:,} of unknown users or items)"
    without = data.test_users_without_target
    return f"{data.test_users:,} test users ({without:,} without a target left out)"


def caption(rows: Sequence[Row]) -> str:
    """Say what the signs mean, and what the memory is of."""
    runs = [run for row in rows for run in row.runs]
    own = all(run.peak_is_of_run for run in runs)
    return (
        f"{BEST} best of the column; mean ± standard deviation over seeds; "
        f"fit: with the choice of settings on validation users; "
        f"peak: of the process {'during the run' if own else 'so far, this system tells no other'}"
    )


def is_weak(protocol: str) -> bool:
    """Tell whether test users were trained on: papers on such splits count otherwise."""
    return protocol not in {"strong", "given-strong"}


def _cell(figure: Figure, measure: Measure) -> str:
    mean, deviation = text_of(figure, measure)
    return f"{mean} {deviation}".rstrip() + (BEST if figure.is_best else "")


def _table(measures: Sequence[Measure], rows: Sequence[Row], title: str) -> Table:
    table = Table("", title=title)
    for measure in measures:
        table.add_column(measure.heading, justify="right")
    for row in rows:
        cells = [_cell(row.figures[measure.name], measure) for measure in measures]
        table.add_row(row.model, *cells)
    return table


def _history_table(rows: Sequence[Row]) -> Table:
    table = Table("", title="NDCG@100 by the number of items in a history")
    columns = []
    for band, users in history_bands(rows).items():
        table.add_column(f"{band.removeprefix('history ')}\n({users:,} users)", justify="right")
        columns.append([_cell(figure, NDCG) for figure in ndcg_by_history(rows, band)])
    for row, *cells in zip(rows, *columns, strict=True):
        table.add_row(row.model, *cells)
    return table
