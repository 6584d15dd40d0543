"""Runs of one contender boiled down to a row: means, deviations, and who is best at what."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final

from training.comparison.contender import Contender
from training.comparison.journal import Journal
from training.comparison.run import Run

MIB: Final = 2**20


@final
@dataclass(frozen=True, slots=True)
class Measure:
    """A column of the comparison.

    Attributes:
        name: Its key in the record.
        heading: What the table calls it, with the unit.
        better: Which end is the better one.
        read: Its value in a run.
        digits: Behind the point.
        tells_deviation: Whether the deviation is told beside the mean.
    """

    name: str
    heading: str
    better: Literal["high", "low"]
    read: Callable[[Run], float]
    digits: int = 4
    tells_deviation: bool = False


def _of_test(name: str, better: Literal["high", "low"] = "high") -> Measure:
    return Measure(name, name, better, lambda run: run.test[name], tells_deviation=True)


def _score_ms(run: Run) -> float:
    users = run.test["users"] + run.test["users_without_target"]
    return 1000 * run.score_seconds / max(users, 1)


NDCG: Final = _of_test("ndcg@100")
ACCURACY: Final = (_of_test("recall@20"), _of_test("recall@50"), NDCG)
# As papers on fixed splits of the same users tell it.
ACCURACY_WEAK: Final = (_of_test("recall_all@20"), _of_test("ndcg@20"))
FIT: Final = Measure("fit_seconds", "fit s", "low", lambda run: run.seconds, 1)
MEMORY: Final = Measure(
    "peak_memory_mib", "peak MiB", "low", lambda run: run.peak_memory_bytes / MIB, 0
)
COST: Final = (FIT, Measure("score_ms_per_user", "score ms/user", "low", _score_ms, 2), MEMORY)
BEYOND: Final = (
    Measure("coverage@20", "coverage@20", "high", lambda run: run.beyond["coverage@20"], 3),
    Measure("gini@20", "Gini@20", "low", lambda run: run.beyond["gini@20"], 3),
    Measure("novelty@20", "novelty@20 bits", "high", lambda run: run.beyond["novelty@20"], 2),
)
RANKING: Final = (*ACCURACY, *ACCURACY_WEAK, *COST, *BEYOND)
ERRORS: Final = (_of_test("rmse", "low"), _of_test("mae", "low"))
RATING: Final = (FIT, *ERRORS, MEMORY)


@final
@dataclass(frozen=True, slots=True)
class Figure:
    """A measure over the runs of a contender.

    Attributes:
        mean: Over seeds.
        deviation: Sample standard deviation over seeds; None with a single run.
        is_best: Whether no other contender has a better mean, as far as digits are told.
    """

    mean: float
    deviation: float | None
    is_best: bool = False


@final
@dataclass(frozen=True, slots=True)
class Row:
    """A contender in the table.

    Attributes:
        model: Its name.
        runs: Those that have figures.
        figures: By the name of the measure; none if every run failed.
        failed: Why runs failed, if any did.
    """

    model: str
    runs: tuple[Run, ...]
    figures: Mapping[str, Figure]
    failed: str | None

    def mean(self, name: str) -> float:
        """Give the mean of a measure."""
        return self.figures[name].mean


def summarize(contenders: Sequence[Contender], journal: Journal) -> list[Row]:
    """Give a row to every contender that has runs: fastest first, failures last."""
    rows = [_row(contender.name, journal.of(contender)) for contender in contenders]
    rows = _with_best([row for row in rows if row.runs or row.failed])
    return sorted(rows, key=lambda row: row.mean(FIT.name) if row.runs else float("inf"))


def measures_of(run: Run) -> tuple[Measure, ...]:
    """Tell what there is to tell of a run: it ranks, or it predicts ratings."""
    return RATING if "rmse" in run.test else RANKING


def predict_ratings(rows: Sequence[Row]) -> bool:
    """Tell whether a comparison is one of rating models; without any figures it is not."""
    return any(measures_of(row.runs[0]) is RATING for row in rows if row.runs)


def _row(model: str, runs: Sequence[Run]) -> Row:
    done = tuple(sorted((run for run in runs if not run.failed), key=lambda run: run.seed))
    measures = measures_of(done[0]) if done else ()
    figures = {measure.name: _figure([measure.read(run) for run in done]) for measure in measures}
    failed = next((run.failed for run in runs if run.failed), None)
    return Row(model, done, figures, failed)


def text_of(figure: Figure, measure: Measure) -> tuple[str, str]:
    """Write the mean of a figure, and its deviation if that is to be told."""
    deviation = ""
    if measure.tells_deviation and figure.deviation is not None:
        deviation = f"±{figure.deviation:,.{measure.digits}f}"
    return f"{figure.mean:,.{measure.digits}f}", deviation


def history_bands(rows: Sequence[Row]) -> dict[str, int]:
    """Give the bands of history lengths, with the number of test users in each."""
    first = next(row.runs[0] for row in rows if row.runs)
    return {band: int(figures["users"]) for band, figures in first.test_by_history.items()}


def ndcg_by_history(rows: Sequence[Row], band: str) -> list[Figure]:
    """Give NDCG@100 over the users of a band, of every row that has runs."""
    figures = [
        _figure([run.test_by_history[band]["ndcg@100"] for run in row.runs])
        for row in rows
        if row.runs
    ]
    best = max(figure.mean for figure in figures)
    return [_marked(figure, best, NDCG) for figure in figures]


def _figure(values: Sequence[float]) -> Figure:
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Figure(statistics.fmean(values), deviation)


def _with_best(rows: Sequence[Row]) -> list[Row]:
    measures = {measure.name: measure for measure in (*RANKING, *RATING)}
    best: dict[str, float] = {}
    for name, measure in measures.items():
        means = [row.mean(name) for row in rows if name in row.figures]
        if means:
            best[name] = max(means) if measure.better == "high" else min(means)

    def marked(row: Row) -> Row:
        figures = {
            name: _marked(figure, best[name], measures[name])
            for name, figure in row.figures.items()
        }
        return Row(row.model, row.runs, figures, row.failed)

    return [marked(row) for row in rows]


def _marked(figure: Figure, best: float, measure: Measure) -> Figure:
    """Mark what prints like the best: of two equal numbers no one would see which is better."""
    is_best = text_of(figure, measure)[0] == text_of(Figure(best, None), measure)[0]
    return Figure(figure.mean, figure.deviation, is_best)


def summary_record(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Give rows as the record has them."""
    return [
        {
            "model": row.model,
            "runs": len(row.runs),
            "failed": row.failed,
            **{
                name: {"mean": figure.mean, "std": figure.deviation, "best": figure.is_best}
                for name, figure in row.figures.items()
            },
        }
        for row in rows
    ]
