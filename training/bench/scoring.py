"""How many users a second batch scoring does: histories in, lists out, against two references."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from service.autoencoders.base import Autoencoder
from service.checkpoint import Checkpoint
from service.histories import History, HistoryBatch
from service.ranker import ModelRanker
from service.retrieval.base import TopK, Wanted
from training.bench.dense_vae import DenseVAE, dense_lists
from training.bench.modes import retrieval_modes
from training.bench.timing import race
from training.evaluate import csr_of

DENSE: Final = "dense torch fp32"
IMPLICIT: Final = "implicit"
IMPLICIT_ALONE: Final = "implicit, top-k alone"
REFERENCES: Final = (DENSE, IMPLICIT, IMPLICIT_ALONE)


@final
@dataclass(frozen=True, slots=True)
class ScorePlan:
    """What to time.

    Attributes:
        k: Length of the lists.
        batch_size: Users a batch, of the subject and of the dense reference; ``implicit`` has
            its own.
        repeats: Timings of each, of which the median counts.
        threads: Of all libraries.
    """

    k: int = 20
    batch_size: int = 256
    repeats: int = 3
    threads: int = 1


@final
@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One way to score all users.

    Attributes:
        name: A retrieval mode, or a reference.
        users_per_second: Over histories to lists; where it says so, over the top-K alone.
        ratio_to_dense: Times the users per second of the dense reference.
        ratio_to_implicit: The same for ``implicit`` from histories on; None where it is missing.
        same_items: Share of lists with the items of the exact list, in any order.
    """

    name: str
    users_per_second: float
    ratio_to_dense: float
    ratio_to_implicit: float | None
    same_items: float


def has_implicit() -> bool:
    """Tell whether ``implicit`` is installed."""
    return importlib.util.find_spec("implicit") is not None


@torch.inference_mode()
def time_scoring(
    loaded: Checkpoint, rows: Sequence[History], plan: ScorePlan
) -> Iterator[ScoreRow]:
    """Score all users in every mode and by every reference that is there.

    Raises:
        BadInputError: The model has no dense form.
    """
    torch.set_num_threads(plan.threads)
    model = loaded.model
    # The dense form is float32 from end to end; the model's own dense layers are wider.
    dense = DenseVAE.of(model).float().eval()
    everyone = HistoryBatch.from_rows(rows)
    matrix = csr_of(everyone, model.num_items)
    runs: dict[str, Callable[[], Sequence[NDArray[np.int64]]]] = {
        mode.name: partial(_ours, ModelRanker(model, mode.retriever), rows, plan)
        for mode in retrieval_modes(loaded, plan.threads)
    }
    subjects = list(runs)
    runs[DENSE] = partial(dense_lists, dense, matrix, plan.k, plan.batch_size)
    if has_implicit():
        rival = _Implicit(model, matrix, plan)
        runs[IMPLICIT] = lambda: rival.search(_queries(model, everyone))
        runs[IMPLICIT_ALONE] = partial(rival.search, _queries(model, everyone))
    right = [frozenset(items_K.tolist()) for items_K in runs[subjects[0]]()]
    seconds = race(runs, plan.repeats, at_least_s=0)
    for name, run in runs.items():
        same = sum(
            frozenset(items_K.tolist()) == expected
            for items_K, expected in zip(run(), right, strict=True)
        )
        implicit_s = seconds.get(IMPLICIT)
        yield ScoreRow(
            name=name,
            users_per_second=len(rows) / seconds[name],
            ratio_to_dense=seconds[DENSE] / seconds[name],
            ratio_to_implicit=implicit_s / seconds[name] if implicit_s else None,
            same_items=same / len(rows),
        )


def _ours(ranker: ModelRanker, rows: Sequence[History], plan: ScorePlan) -> list[NDArray[np.int64]]:
    tops: list[TopK] = []
    for start in range(0, len(rows), plan.batch_size):
        block = rows[start : start + plan.batch_size]
        wanted = [Wanted(plan.k, row.item_index_N) for row in block]
        tops.extend(ranker.top_k(HistoryBatch.from_rows(block), wanted))
    return [top.item_index_K for top in tops]


@final
class _Implicit:
    """The same item matrix in ``implicit``; the bias is one more column. All made beforehand."""

    def __init__(self, model: Autoencoder, matrix: csr_array, plan: ScorePlan) -> None:
        bias_I1 = model.item_bias_I.numpy()[:, None]
        self._item_I1 = np.concatenate([model.item_vectors_IH.numpy(), bias_I1], axis=1)
        self._seen = csr_matrix(matrix)
        self._plan = plan
        self._top_k: Any = importlib.import_module("implicit.cpu.topk").topk

    def search(self, query_U1: NDArray[np.float32]) -> list[NDArray[np.int64]]:
        """Give one list a query; the last entry of a query is 1."""
        indices_UK, _ = self._top_k(
            self._item_I1,
            query_U1,
            self._plan.k,
            filter_query_items=self._seen,
            num_threads=self._plan.threads,
        )
        lists: NDArray[np.int64] = indices_UK.astype(np.int64)
        return list(lists)


def _queries(model: Autoencoder, everyone: HistoryBatch) -> NDArray[np.float32]:
    query_UH: NDArray[np.float32] = model.queries(model.encode(everyone)).numpy()
    return np.concatenate([query_UH, np.ones((len(query_UH), 1), np.float32)], axis=1)
