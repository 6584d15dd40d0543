"""How fast the catalogue is decoded, and whether every list is the exact one.

The reference is what anyone writes first: a float32 product on torch, the user's items masked,
``topk``. It proves nothing: its near ties may stand in any order.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.autoencoders.base import Autoencoder
from service.checkpoint import Checkpoint
from service.histories import History, HistoryBatch
from service.retrieval.base import Wanted
from training.bench.modes import Mode, retrieval_modes
from training.bench.timing import race

REFERENCE: Final = "torch fp32"
ItemLists = NDArray[np.int64]
# Batches that a timing goes through in turn: one alone would sit in the processor's cache.
DISTINCT_BATCHES: Final = 8
ROWS_PER_CHECK: Final = 128


@final
@dataclass(frozen=True, slots=True)
class DecodePlan:
    """What to time.

    Attributes:
        batch_sizes: Rows a batch.
        ks: Lengths of lists.
        repeats: Timings of each, of which the median counts.
        at_least_s: Of a timing.
        threads: Torch's, and those of any other library.
    """

    batch_sizes: Sequence[int] = (1, 8, 32, 128)
    ks: Sequence[int] = (10, 20, 100)
    repeats: int = 5
    at_least_s: float = 0.3
    threads: int = 1


@final
@dataclass(frozen=True, slots=True)
class DecodeRow:
    """One mode at one batch size and list length.

    Attributes:
        mode: As ``RETRIEVAL`` has it.
        batch: Rows.
        k: Length of the lists.
        subject_ms: A batch through the retriever.
        reference_ms: The same batch through the reference.
        ratio: How many times as fast; above 1 is faster than the reference.
    """

    mode: str
    batch: int
    k: int
    subject_ms: float
    reference_ms: float
    ratio: float


@final
@dataclass(frozen=True, slots=True)
class ExactnessRow:
    """How often a mode gives the exact list.

    Attributes:
        mode: As ``RETRIEVAL`` has it.
        k: Length of the lists.
        users: Lists that were compared.
        identical: Share of them with the right items in the right order.
        escalated: Share of rows that the first candidates did not settle; None: not told.
    """

    mode: str
    k: int
    users: int
    identical: float
    escalated: float | None


@torch.inference_mode()
def time_decoding(
    loaded: Checkpoint, rows: Sequence[History], plan: DecodePlan
) -> Iterator[DecodeRow]:
    """Time every mode against the reference, the longest lists last."""
    torch.set_num_threads(plan.threads)
    model = loaded.model
    modes = retrieval_modes(loaded, plan.threads)
    for k in plan.ks:
        for size in plan.batch_sizes:
            batches = _batches(model, rows, size, k)
            actions: dict[str, Callable[[], object]] = {
                REFERENCE: _in_turn([partial(_reference, model, *b[:2], k) for b in batches]),
                **{
                    mode.name: _in_turn(
                        [partial(mode.retriever.top_k, b[0], b[2], b[3]) for b in batches]
                    )
                    for mode in modes
                },
            }
            seconds = race(actions, plan.repeats, plan.at_least_s)
            reference_ms = seconds.pop(REFERENCE) * 1e3
            for name, value in seconds.items():
                ratio = reference_ms / (value * 1e3)
                yield DecodeRow(name, size, k, value * 1e3, reference_ms, ratio)


@torch.inference_mode()
def check_decoding(
    loaded: Checkpoint, rows: Sequence[History], plan: DecodePlan
) -> Iterator[ExactnessRow]:
    """Compare every mode's lists with the exact ones, at every length."""
    torch.set_num_threads(plan.threads)
    model = loaded.model
    exact = exact_lists(model, rows, max(plan.ks))
    for mode in retrieval_modes(loaded, plan.threads):
        for k in plan.ks:
            yield _checked(mode, model, rows, exact, k)


def exact_lists(model: Autoencoder, rows: Sequence[History], k: int) -> list[ItemLists]:
    """Rank the whole catalogue for every user: float64 scores as answers show them, in float32.

    Items that score the same there stand in the order of their index. Nothing of the service's
    retrieval is used.
    """
    vectors_IH, bias_I = model.item_vectors_IH.double(), model.item_bias_I.double()
    lists: list[ItemLists] = []
    for start in range(0, len(rows), ROWS_PER_CHECK):
        block = rows[start : start + ROWS_PER_CHECK]
        histories = HistoryBatch.from_rows(block)
        score_BI = model.queries(model.encode(histories)).double() @ vectors_IH.T + bias_I
        if model.linear is not None:
            score_BI += model.linear(histories)
        rounded_BI = score_BI.float().numpy()
        for score_I, row in zip(rounded_BI, block, strict=True):
            score_I[row.item_index_N] = -np.inf
            length = min(k, len(score_I) - len(row))
            lists.append(np.argsort(-score_I, kind="stable")[:length])
    return lists


def _checked(
    mode: Mode, model: Autoencoder, rows: Sequence[History], exact: Sequence[ItemLists], k: int
) -> ExactnessRow:
    mode.tally.clear()
    same = 0
    for start in range(0, len(rows), ROWS_PER_CHECK):
        block = rows[start : start + ROWS_PER_CHECK]
        (query_BH, _, wanted, histories) = _batch(model, block, k)
        tops = mode.retriever.top_k(query_BH, wanted, histories)
        right = exact[start : start + ROWS_PER_CHECK]
        same += sum(
            np.array_equal(top.item_index_K, items_K[:k])
            for top, items_K in zip(tops, right, strict=True)
        )
    return ExactnessRow(mode.name, k, len(rows), same / len(rows), mode.tally.escalated)


Batch = tuple[Tensor, tuple[Tensor, Tensor], list[Wanted], HistoryBatch]


def _batches(model: Autoencoder, rows: Sequence[History], size: int, k: int) -> list[Batch]:
    # Users come back where there are too few to fill all batches.
    users = itertools.cycle(rows)
    return [_batch(model, list(itertools.islice(users, size)), k) for _ in range(DISTINCT_BATCHES)]


def _batch(model: Autoencoder, rows: Sequence[History], k: int) -> Batch:
    histories = HistoryBatch.from_rows(rows)
    query_BH = model.queries(model.encode(histories))
    seen = (histories.row_N, histories.item_index_N)
    return query_BH, seen, [Wanted(k, row.item_index_N) for row in rows], histories


def _reference(
    model: Autoencoder, query_BH: Tensor, seen: tuple[Tensor, Tensor], k: int
) -> tuple[Tensor, Tensor]:
    score_BI = torch.addmm(model.item_bias_I, query_BH, model.item_vectors_IH.T)
    score_BI[seen] = -torch.inf
    score_BK, item_BK = score_BI.topk(k, dim=1)
    return score_BK, item_BK


def _in_turn(actions: Sequence[Callable[[], object]]) -> Callable[[], object]:
    turns = itertools.cycle(actions)

    def call() -> object:
        return next(turns)()

    return call
