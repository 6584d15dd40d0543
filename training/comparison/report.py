"""A comparison as one HTML file: what was compared on, tables, plots, settings."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

import orjson

from training.comparison.bar_plot import Bar, bar_plot
from training.comparison.dot_plot import Dot, dot_plot
from training.comparison.journal import DataFacts
from training.comparison.line_plot import Line, line_plot
from training.comparison.page import page, section, side_by_side
from training.comparison.report_table import results
from training.comparison.run import Run
from training.comparison.summary import (
    FIT,
    Row,
    history_bands,
    ndcg_by_history,
    predict_ratings,
)
from training.comparison.tables import whom

# A fit that takes no time has a place on a logarithmic axis, too.
LEAST_SECONDS: Final = 0.01


def write_report(path: Path, rows: Sequence[Row], data: DataFacts) -> None:
    """Write the report of a comparison; folders are made.

    Args:
        path: The HTML file.
        rows: Fastest first, as the table is to have them.
        data: What was compared on.
    """
    done = [row for row in rows if row.runs]
    style_of = {row.model: number for number, row in enumerate(done)}
    parts = [_header(rows, data), results(rows, data)]
    if done and predict_ratings(rows):
        parts += [_learning(done, style_of, "rmse"), _settings(done)]
    elif done:
        learning = _learning(done, style_of, "ndcg@100")
        parts.append(side_by_side(_trade_off(done, style_of), learning))
        parts += [_by_history(done), _annealing(done, style_of), _settings(done)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(f"Models compared on {data.name}", "\n".join(parts)), encoding="utf-8")


def _header(rows: Sequence[Row], data: DataFacts) -> str:
    facts = {
        "training users": f"{data.train_users:,}",
        "items": f"{data.items:,}",
        "training interactions": f"{data.train_interactions:,}",
        "split": data.protocol,
        "measured on": whom(rows, data),
        "data fingerprint": data.fingerprint[:12],
    }
    told = "".join(
        f"<div><dt>{key}</dt><dd>{escape(value)}</dd></div>" for key, value in facts.items()
    )
    title = f"<h1>Models compared on {escape(data.name)}</h1>"
    note = "<p>Validation chooses epochs and settings; the figures are those of the test part.</p>"
    return f"<header>{title}{note}<dl>{told}</dl></header>"


def _trade_off(rows: Sequence[Row], style_of: dict[str, int]) -> str:
    dots = [
        Dot(
            row.model,
            style_of[row.model],
            max(row.mean(FIT.name), LEAST_SECONDS),
            row.mean("ndcg@100"),
            row.figures["ndcg@100"].deviation or 0.0,
        )
        for row in rows
    ]
    note = (
        "Up is more accurate, left is faster. The whiskers are the standard deviation over seeds. "
        "A model with ↓ lies below the field."
    )
    drawn = dot_plot(dots, "seconds to fit (logarithmic)", "test NDCG@100")
    return section("Accuracy and time", note, drawn)


def _learning(rows: Sequence[Row], style_of: dict[str, int], figure: str) -> str:
    lines = [
        Line(name, style_of[row.model], tuple(report.valid[figure] for report in curve))
        for row in rows
        for name, curve in row.runs[0].curves().items()
    ]
    if not lines:
        return ""
    name = figure.upper()
    note = (
        f"{name} of the validation part after every epoch, of the first seed; of a model made of "
        "several, that of each part."
    )
    drawn = line_plot(lines, f"validation {name}", "range")
    return section("Learning curves", note, drawn)


def _by_history(rows: Sequence[Row]) -> str:
    best_first = sorted(rows, key=lambda row: -row.mean("ndcg@100"))
    drawn = []
    for band, users in history_bands(rows).items():
        figures = ndcg_by_history(best_first, band)
        bars = [
            Bar(row.model, figure.mean, figure.deviation or 0.0)
            for row, figure in zip(best_first, figures, strict=True)
        ]
        title = f"<h3>{escape(band)} items ({users:,} users)</h3>"
        drawn.append(title + bar_plot(bars, f"NDCG@100, {band}"))
    note = "Test NDCG@100 by the number of items in the user's history; models as they rank in all."
    return section("Accuracy by history length", note, side_by_side(*drawn))


def _annealing(rows: Sequence[Row], style_of: dict[str, int]) -> str:
    variational = [
        (name, style_of[row.model], curve)
        for row in rows
        for name, curve in row.runs[0].curves().items()
        if any(report.regularizer for report in curve)
    ]
    if not variational:
        return ""
    beta, divergence = (
        [
            Line(name, style, tuple(getattr(report, figure) for report in curve))
            for name, style, curve in variational
        ]
        for figure in ("beta", "regularizer")
    )
    note = (
        "Of variational models, first seed: beta, the weight of the KL term, and that term, a mean "
        "over users. RecVAE weighs the KL by the number of the user's items."
    )
    drawn = side_by_side(
        line_plot(beta, "beta", "from zero"), line_plot(divergence, "KL term, nats", "log")
    )
    return section("Annealing", note, drawn)


def _settings(rows: Sequence[Row]) -> str:
    details = "".join(
        f"<details><summary>{escape(row.model)}</summary><pre>{escape(_told(row.runs[0]))}</pre>"
        "</details>"
        for row in rows
    )
    return section("Settings", "Of every model, and what its first fit chose.", details)


def _told(run: Run) -> str:
    told = {"settings": run.config, "chosen on validation": run.facts}
    return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()
