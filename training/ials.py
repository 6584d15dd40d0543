"""iALS, matrix factorisation by alternating least squares: a rival to be taken seriously.

Hu, Koren and Volinsky (2008), regularised as in Rendle, Krichene, Zhang and Koren, "Revisiting
the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022 (arXiv:2110.14037). Own
code, because the package that has ALS (``implicit``) regularises every vector alike, and the
weight by number of entries is what made the model strong again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, final

import torch
from pydantic import Field
from scipy.sparse import csr_array
from torch import Tensor

from service.histories import HistoryBatch
from service.retrieval.base import TopK, Wanted
from service.retrieval.ranking import rank
from training.closed_form import some_of
from training.data.split import Split
from training.evaluate import csr_of, evaluate
from training.least_squares import Penalty, solve_rows

START: Final = Penalty(l2=0.2, absent_weight=0.3)
# What a step of the search multiplies by.
L2_FACTOR: Final = 2.0
ABSENT_WEIGHT_FACTOR: Final = 3.0
# Settings are compared at this size: which is best changes little with it, the time does.
TUNING_DIM: Final = 64
TUNING_EPOCHS: Final = 8
MAX_TRIALS: Final = 10
TUNING_SHARE: Final = 0.5
INITIAL_NORM: Final = 0.1


@final
@dataclass(frozen=True, slots=True)
class ImplicitALSConfig:
    """Settings of iALS; validation users choose what is None."""

    latent_dim: Annotated[int, Field(ge=1)] = 128
    epochs: Annotated[int, Field(ge=1)] = 10
    # Without either the system of a row without entries has no solution.
    l2: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    absent_weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


@final
class ImplicitALS:
    """Item vectors, and the closed form that folds a history in; a ranker."""

    def __init__(self, item_vectors_ID: Tensor, penalty: Penalty) -> None:
        self._item_vectors_ID = item_vectors_ID
        self._penalty = penalty

    def top_k(self, histories: HistoryBatch, wanted: Sequence[Wanted]) -> list[TopK]:
        """Give one list per history; hidden items never come back."""
        history = csr_of(histories, len(self._item_vectors_ID))
        query_BD = solve_rows(history, self._item_vectors_ID, self._penalty)
        return rank(query_BD @ self._item_vectors_ID.T, wanted)


def fit_ials(
    split: Split, config: ImplicitALSConfig, seed: int, hear: Callable[[float], None]
) -> tuple[ImplicitALS, Penalty]:
    """Alternate between users and items, with the penalty that validation users like best.

    Args:
        split: Trained on; its validation users choose what ``config`` leaves open.
        config: Size, sweeps, and what of the penalty is given.
        seed: Start of the item vectors.
        hear: Told before every trial and every sweep which share of all work it is at most.
    """
    small = replace(config, latent_dim=min(TUNING_DIM, config.latent_dim), epochs=TUNING_EPOCHS)
    valid = some_of(split.valid)

    def worth(penalty: Penalty) -> float:
        hear(TUNING_SHARE / MAX_TRIALS)
        vectors_ID = _alternated(split.train, small, penalty, seed)
        return evaluate(ImplicitALS(vectors_ID, penalty), valid).ndcg_at_100

    penalty = _tuned(worth, config)

    def on_sweep() -> None:
        hear((1 - TUNING_SHARE) / config.epochs)

    vectors_ID = _alternated(split.train, config, penalty, seed, on_sweep)
    return ImplicitALS(vectors_ID, penalty), penalty


def _alternated(
    train: csr_array,
    config: ImplicitALSConfig,
    penalty: Penalty,
    seed: int,
    on_sweep: Callable[[], None] = lambda: None,
) -> Tensor:
    by_item = csr_array(train.T.tocsr())
    generator = torch.Generator().manual_seed(seed)
    item_vectors_ID = torch.randn(train.shape[1], config.latent_dim, generator=generator)
    item_vectors_ID *= INITIAL_NORM / config.latent_dim**0.5
    for _ in range(config.epochs):
        on_sweep()
        user_vectors_UD = solve_rows(train, item_vectors_ID, penalty)
        item_vectors_ID = solve_rows(by_item, user_vectors_UD, penalty)
    return item_vectors_ID


def _tuned(worth: Callable[[Penalty], float], config: ImplicitALSConfig) -> Penalty:
    """Climb, a step of either setting at a time, until no step is better or trials run out."""

    def penalty_at(l2_steps: int, weight_steps: int) -> Penalty:
        return Penalty(
            START.l2 * L2_FACTOR**l2_steps if config.l2 is None else config.l2,
            START.absent_weight * ABSENT_WEIGHT_FACTOR**weight_steps
            if config.absent_weight is None
            else config.absent_weight,
        )

    moves = [(step, 0) for step in (-1, 1) if config.l2 is None]
    moves += [(0, step) for step in (-1, 1) if config.absent_weight is None]
    best = (0, 0)
    if not moves:
        return penalty_at(*best)
    worths = {best: worth(penalty_at(*best))}
    while len(worths) < MAX_TRIALS:
        around = ((best[0] + l2_step, best[1] + weight_step) for l2_step, weight_step in moves)
        untried = next((point for point in around if point not in worths), None)
        if untried is None:
            break
        worths[untried] = worth(penalty_at(*untried))
        best = max(worths, key=worths.__getitem__)
    return penalty_at(*best)
