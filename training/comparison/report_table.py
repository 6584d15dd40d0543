"""The results table of a report, in HTML."""

from collections.abc import Sequence
from html import escape
from typing import Final

from training.comparison.journal import DataFacts
from training.comparison.page import section
from training.comparison.summary import (
    ACCURACY,
    ACCURACY_WEAK,
    BEYOND,
    COST,
    FIT,
    RATING,
    Figure,
    Measure,
    Row,
    predict_ratings,
    text_of,
)
from training.comparison.tables import is_weak

NOTE: Final = (
    "Fastest first; the best of each column is bold. Mean ± standard deviation over seeds. Fit "
    "time includes the choice of settings on validation users."
)
NOTE_ON_LISTS: Final = (
    " Coverage, Gini and novelty are those of the first 20 items of every list; Gini is 0 where "
    "they show all items alike, 1 where a few items fill them."
)
NOTE_ON_WEAK_SPLITS: Final = (
    " recall_all divides hits by all targets, recall by 20 of them at most."
)


def results(rows: Sequence[Row], data: DataFacts) -> str:
    """Give the section with the results; fits that failed say why."""
    measures, note = _columns(rows, data)
    head = "".join(f'<th scope="col">{escape(measure.heading)}</th>' for measure in measures)
    body = "".join(_table_row(row, measures) for row in rows)
    table = (
        f'<div class="wide"><table><thead><tr><th scope="col">model</th><th scope="col">fits</th>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    partial = [f"{row.model}: {row.failed}" for row in rows if row.runs and row.failed]
    failures = "".join(f"<p>A fit failed. {escape(line)}</p>" for line in partial)
    return section("Results", note, table + failures)


def _columns(rows: Sequence[Row], data: DataFacts) -> tuple[tuple[Measure, ...], str]:
    if predict_ratings(rows):
        return RATING, NOTE
    if is_weak(data.protocol):
        note = NOTE + NOTE_ON_LISTS + NOTE_ON_WEAK_SPLITS
        return (FIT, *ACCURACY, *ACCURACY_WEAK, *COST[1:], *BEYOND), note
    return (FIT, *ACCURACY, *COST[1:], *BEYOND), NOTE + NOTE_ON_LISTS


def _table_row(row: Row, measures: Sequence[Measure]) -> str:
    name = f'<tr><th scope="row">{escape(row.model)}</th><td>{len(row.runs)}</td>'
    if row.runs:
        cells = "".join(_cell(row.figures[measure.name], measure) for measure in measures)
        return f"{name}{cells}</tr>"
    reason = escape(row.failed or "")
    return f'{name}<td class="failed" colspan="{len(measures)}">{reason}</td></tr>'


def _cell(figure: Figure, measure: Measure) -> str:
    mean, deviation = text_of(figure, measure)
    beside = f" <small>{deviation}</small>" if deviation else ""
    kind = ' class="best"' if figure.is_best else ""
    return f"<td{kind}>{mean}{beside}</td>"
