"""What users, items and longer histories cost: each varied alone, and a law fitted to each cost."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Literal, TypeAlias, final

import numpy as np
import torch

from service.histories import HistoryBatch
from service.ranker import ModelRanker
from service.retrieval.base import Wanted
from service.retrieval.exact import ExactRetriever
from service.retrieval.quantized import QuantizedRetriever
from training.bench.cost_law import CostLaw, fitted
from training.bench.synthetic import Shape, histories, synthetic_catalog, synthetic_model
from training.bench.timing import Action, race
from training.bench.training_race import Start, TrainPlan, run_process

Axis: TypeAlias = Literal["users", "items", "history"]
Unit: TypeAlias = Literal["s", "ms", "MB"]
AXES: Final[tuple[Axis, ...]] = ("users", "items", "history")
# Rows of a batch that is encoded or ranked: a full one of the service.
ROWS: Final = 32
K: Final = 20
MEGABYTE: Final = 1 << 20


@final
@dataclass(frozen=True, slots=True)
class GrowthPlan:
    """What to vary, and what stays meanwhile.

    Attributes:
        users: Sizes of the log, with ``shape.items`` items and histories of ``length``.
        items: Sizes of the catalogue, with ``base_users`` users.
        history: Lengths of histories, with ``base_users`` users.
        shape: Of the Mult-VAE.
        base_users: Users of the log where something else varies.
        length: Items of a history where something else varies; in a log, of the median user.
        epochs: Of a training run, of which the median counts.
        repeats: Timings of a batch, of which the median counts.
        at_least_s: Of one timing.
        threads: Of all libraries.
        seed: Start of all chance.
    """

    users: Sequence[int] = (5_000, 10_000, 20_000, 40_000, 80_000)
    items: Sequence[int] = (5_000, 20_000, 80_000, 160_000, 320_000)
    history: Sequence[int] = (5, 20, 80, 320, 640)
    shape: Shape = field(default_factory=Shape)
    base_users: int = 2_000
    length: int = 40
    epochs: int = 3
    repeats: int = 3
    at_least_s: float = 0.3
    threads: int = 1
    seed: int = 0


@final
@dataclass(frozen=True, slots=True)
class Point:
    """One measurement.

    Attributes:
        axis: What was varied.
        size: How far.
        cost: What was measured.
        amount: How much of it.
        unit: Of the amount.
    """

    axis: Axis
    size: int
    cost: str
    amount: float
    unit: Unit


@final
@dataclass(frozen=True, slots=True)
class Growth:
    """A cost along an axis.

    Attributes:
        axis: What was varied.
        cost: What was measured.
        unit: Of the amounts.
        sizes: How far it was varied.
        amounts: What each size cost.
        law: What was fitted to that.
    """

    axis: Axis
    cost: str
    unit: Unit
    sizes: tuple[int, ...]
    amounts: tuple[float, ...]
    law: CostLaw


def measured(plan: GrowthPlan, start: Start = run_process) -> Iterator[Point]:
    """Measure all costs, axis by axis, the small sizes first.

    Args:
        plan: What to vary.
        start: Trains once, in a process of its own, so that its peak of memory is its own.

    Raises:
        BadInputError: A training run failed.
    """
    torch.set_num_threads(plan.threads)
    for axis in AXES:
        for size in sorted(getattr(plan, axis)):
            yield from _training(plan, axis, size, start)
            if axis != "users":  # an answer does not depend on who else there is
                yield from _answering(plan, axis, size)


def laws(points: Iterable[Point]) -> list[Growth]:
    """Fit a law to each cost along each axis.

    Raises:
        BadInputError: Along an axis there are less than three sizes.
    """
    grouped: dict[tuple[Axis, str, Unit], list[Point]] = {}
    for point in points:
        grouped.setdefault((point.axis, point.cost, point.unit), []).append(point)
    growths: list[Growth] = []
    for (axis, cost, unit), group in grouped.items():
        sizes = tuple(point.size for point in group)
        amounts = tuple(point.amount for point in group)
        growths.append(Growth(axis, cost, unit, sizes, amounts, fitted(sizes, amounts)))
    return growths


def _training(plan: GrowthPlan, axis: Axis, size: int, start: Start) -> Iterator[Point]:
    run_plan = TrainPlan(
        shape=replace(plan.shape, items=size if axis == "items" else plan.shape.items),
        users=size if axis == "users" else plan.base_users,
        epochs=plan.epochs,
        threads=plan.threads,
        seed=plan.seed,
        length=size if axis == "history" else plan.length,
    )
    run = start(run_plan, "foldin", plan.seed)
    yield Point(axis, size, "an epoch", run_plan.users / run.users_per_second, "s")
    # What the training took beside the interpreter, the libraries and the log itself.
    grown = max(run.peak_bytes - run.baseline_bytes, 1)
    yield Point(axis, size, "training", grown / MEGABYTE, "MB")


def _answering(plan: GrowthPlan, axis: Axis, size: int) -> Iterator[Point]:
    shape = replace(plan.shape, items=size) if axis == "items" else plan.shape
    actions = batch_actions(shape, size if axis == "history" else plan.length, plan)
    with torch.inference_mode():
        for cost, seconds in race(actions, plan.repeats, plan.at_least_s).items():
            yield Point(axis, size, cost, 1e3 * seconds, "ms")


def batch_actions(shape: Shape, length: int, plan: GrowthPlan) -> dict[str, Action]:
    """Prepare what an answer is made of, for a batch of ``ROWS`` histories of a length."""
    popularity_I = synthetic_catalog(shape.items, plan.seed).popularity_I
    model = synthetic_model(shape, popularity_I, plan.seed).freeze()
    rows = histories(popularity_I, ROWS, length, np.random.default_rng(plan.seed))
    batch = HistoryBatch.from_rows(rows)
    wanted = [Wanted(K, row.item_index_N) for row in rows]
    vectors_IH, bias_I = model.item_vectors_IH, model.item_bias_I
    exact = ModelRanker(model, ExactRetriever(vectors_IH, bias_I))
    int8 = ModelRanker(model, QuantizedRetriever(vectors_IH, bias_I, threads=plan.threads))
    latents_BD = exact.encode(batch)
    actions: dict[str, Callable[[], object]] = {
        f"{ROWS} encodings": partial(exact.encode, batch),
        f"{ROWS} lists, exact": partial(exact.decode, latents_BD, wanted),
        f"{ROWS} lists, int8": partial(int8.decode, latents_BD, wanted),
    }
    return actions
