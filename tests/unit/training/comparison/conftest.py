"""A data set with planted blocks, contenders that take no time, and somebody who listens."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from service.catalog import Catalog
from training.baselines import Popularity
from training.comparison.contender import Contender, Fitted
from training.comparison.run import Run, measured_run
from training.data.datasets import Dataset
from training.data.split import Split
from training.loop import Watcher
from training.state import EpochReport

MakeContender = Callable[..., Contender]


class Listener:
    """Keeps what a comparison tells."""

    def __init__(self) -> None:
        self.started: list[tuple[str, int]] = []
        self.runs: list[Run] = []

    def on_start(self, contender: Contender, seed: int) -> None:
        self.started.append((contender.name, seed))

    def on_run(self, run: Run) -> None:
        self.runs.append(run)

    def on_step(self, users: float) -> None:
        pass

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        pass


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def dataset(planted_split: Split) -> Dataset:
    size = len(planted_split.item_ids)
    popularity_I = np.bincount(planted_split.train.indices, minlength=size)
    catalog = Catalog(planted_split.item_ids, ("",) * size, ((),) * size, popularity_I)
    return Dataset("planted", planted_split, catalog, 4.0, "fingerprint", ())


@pytest.fixture
def contender() -> MakeContender:
    """Make a contender that fits nothing: ``contender(name, error=, interrupted=, ...)``.

    ``seconds`` is what the fit claims to take under seed 0, a second more under seed 1, and so on.
    ``epochs`` gives it a curve, ``parents`` one to each of these.
    """
    return make_contender


def make_contender(
    name: str = "fake",
    *,
    error: BaseException | None = None,
    interrupted: bool = False,
    seconds: float = 1.0,
    epochs: int = 0,
    parents: Sequence[str] = (),
    has_chance: bool = True,
    config: Mapping[str, Any] | None = None,
) -> Contender:
    def fit(dataset: Dataset, seed: int, watcher: Watcher) -> Fitted:
        watcher.on_step(dataset.split.train.shape[0])
        if error is not None:
            raise error
        return Fitted(
            Popularity(dataset.split.train),
            seconds + seed,
            facts={"l2": 3.0},
            reports=() if parents else reports_of(epochs),
            best_epoch=0 if parents else epochs,
            interrupted=interrupted,
            parent_reports={parent: reports_of(epochs) for parent in parents},
        )

    return Contender(name, config or {"size": 3}, {}, has_chance, reads_ratings=False, fit=fit)


def reports_of(epochs: int) -> tuple[EpochReport, ...]:
    return tuple(
        EpochReport(epoch, 9.0, 2.0 * epoch, 0.1 * epoch, {"ndcg@100": 0.3 * epoch}, 2.0, 0.1)
        for epoch in range(1, epochs + 1)
    )


@pytest.fixture
def run(dataset: Dataset, listener: Listener) -> Callable[..., Run]:
    """Measure a contender under a seed."""

    def measured(contender: Contender, seed: int = 0) -> Run:
        return measured_run(contender, seed, dataset, listener)

    return measured
