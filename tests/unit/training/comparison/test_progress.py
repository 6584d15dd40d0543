import io
from collections.abc import Callable

from rich.console import Console

from training.comparison.contender import Contender
from training.comparison.progress import ComparisonProgress
from training.comparison.run import Run, failed_run
from training.state import EpochReport

MakeContender = Callable[..., Contender]
EPOCH = EpochReport(4, 1.0, 0.0, 0.0, {"ndcg@100": 0.4321}, 1.0, 0.1)


def watched(made: Contender, runs: list[Run], *, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=160)
    with ComparisonProgress(console, fits=5, done=2) as progress:
        for run in runs:
            progress.on_start(made, run.seed)
            progress.on_step(75)
            progress.on_epoch(EPOCH, 3)
            progress.on_run(run)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_fit_gets_a_line_with_what_came_of_it(
    contender: MakeContender, run: Callable[..., Run]
) -> None:
    made = contender("fake", epochs=2)
    text = watched(made, [run(made, 0), failed_run(made, 1, "no [room]")], terminal=False)
    first, second = text.splitlines()
    assert first.startswith("3/5 fake seed 0: ndcg@100 ")
    assert "best epoch 2 of 2" in first
    assert "ETA ~" in first
    assert second.startswith("4/5 fake seed 1: failed: no [room]")


def test_what_knows_no_chance_shows_no_seed(
    contender: MakeContender, run: Callable[..., Run]
) -> None:
    made = contender("popularity", has_chance=False)
    assert "3/5 popularity: ndcg@100" in watched(made, [run(made)], terminal=False)


def test_a_terminal_shows_the_fit_in_progress(
    contender: MakeContender, run: Callable[..., Run]
) -> None:
    made = contender("fake")
    text = watched(made, [run(made)], terminal=True)
    assert "epoch 4" in text
    assert "0.4321" in text


def test_a_terminal_shows_which_part_of_a_model_is_trained(contender: MakeContender) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=160)
    with ComparisonProgress(console, fits=5, done=2) as progress:
        progress.on_start(contender("hybrid"), 0)
        progress.on_part("cdae", 60)
        progress.on_epoch(EPOCH, 3)
    assert isinstance(console.file, io.StringIO)
    assert "hybrid seed 0  cdae  epoch 4" in console.file.getvalue()
