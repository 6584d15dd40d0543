"""Runs one mixed batch: encode the rows that lack a latent, retrieve for all of them."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.autoencoders.traversal import steered
from service.causes import Causes
from service.device import to_device, to_host
from service.histories import UNKNOWN_USER, History, HistoryBatch
from service.ranker import ModelRanker
from service.refiner import NO_ITEMS, NO_WISH, Refiner, Wish
from service.reranking.taste import pool_size
from service.retrieval.base import TopK, Wanted

Observe: TypeAlias = Callable[[Literal["encode", "retrieve"], float], None]


def not_observed(stage: str, seconds: float) -> None:
    """Let a time go by unnoted."""


@final
@dataclass(frozen=True, slots=True)
class Job:
    """One row: a history to fold in, or a latent that was folded in before.

    Attributes:
        history: What the user likes; None with a latent.
        user_index: The user's row in the model (CDAE), else ``UNKNOWN_USER``.
        latent_D: float32 latent to decode; None with a history.
        wanted: How many items, and which may not come back.
        wish: What the row asks beyond that; a draw and causes need the history.
    """

    wanted: Wanted
    history: History | None = None
    latent_D: NDArray[np.float32] | None = None
    user_index: int = UNKNOWN_USER
    wish: Wish = NO_WISH

    def __post_init__(self) -> None:
        if (self.history is None) == (self.latent_D is None):
            raise ValueError("a job carries either a history or a latent")


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a job: its list, and what to keep of the user.

    Attributes:
        top: The list.
        latent_D: The latent that it came from; of a model that keeps histories, the weights of
            the history's entries.
        causes: Of each item of the list, where they were asked for.
    """

    top: TopK
    latent_D: NDArray[np.float32]
    causes: Causes | None = None


@final
class Engine:
    """A model and its retriever, on one device. Not thread-safe: one worker runs it.

    Args:
        ranker: The model with its retriever.
        observe: Told how many seconds each stage of a batch took. A GPU encodes on while the next
            stage begins; there the time of encoding is part of that of retrieval.
        refiner: Grants the wishes of rows; without one they are passed over.
    """

    def __init__(
        self,
        ranker: ModelRanker,
        observe: Observe = not_observed,
        refiner: Refiner | None = None,
    ) -> None:
        self._ranker = ranker
        self._refiner = refiner
        self._observe = observe
        self._model = ranker.model
        self._device = ranker.model.item_bias_I.device

    @torch.inference_mode()
    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Answer a batch of at least one job, in order."""
        wanted = [_wanted(job) for job in jobs]
        histories = None
        if self._model.keeps_history:
            histories = _batch_of(jobs).to(self._device)
            with self._timed("encode"):
                latents_BD = self._ranker.encode(histories)
        else:
            latents_BD = self._latents(jobs)
        with self._timed("retrieve"):
            tops = self._ranker.decode(self._explored(jobs, latents_BD), wanted, histories)
        kept = self._kept(jobs, latents_BD)
        triples = zip(jobs, tops, kept, strict=True)
        return [self._refined(job, Outcome(top, kept_D)) for job, top, kept_D in triples]

    def _kept(self, jobs: Sequence[Job], latents_BD: Tensor) -> Iterable[NDArray[np.float32]]:
        if self._model.keeps_history:
            return [job.history.weight_N for job in jobs if job.history is not None]
        return [latent_D.copy() for latent_D in to_host(latents_BD)[0].numpy()]

    def _explored(self, jobs: Sequence[Job], latents_BD: Tensor) -> Tensor:
        """Replace the latents of rows that want a draw from the posterior, or move; others stay."""
        refiner = self._refiner
        if refiner is None or not any(job.wish.exploration or job.wish.steer for job in jobs):
            return latents_BD
        explored_BD = latents_BD.clone()
        for row, job in enumerate(jobs):
            if job.wish.exploration and job.history is not None:
                explored_BD[row] = refiner.drawn(job.history, job.wish)
            explored_BD[row] = steered(explored_BD[row], job.wish.steer)
        return explored_BD

    def _refined(self, job: Job, outcome: Outcome) -> Outcome:
        wish, refiner = job.wish, self._refiner
        if wish is NO_WISH or refiner is None:
            return outcome
        top, causes = outcome.top, None
        if not wish.taste.is_plain:
            history_N = NO_ITEMS if job.history is None else job.history.item_index_N
            top = refiner.picked(top, job.wanted.k, wish, history_N)
        if wish.explain and job.history is not None:
            causes = refiner.causes(job.history, top.item_index_K, job.user_index, wish.steer)
        return replace(outcome, top=top, causes=causes)

    def _latents(self, jobs: Sequence[Job]) -> Tensor:
        posted = [row for row, job in enumerate(jobs) if job.history is not None]
        if len(posted) == len(jobs):
            return self._encoded(jobs)
        latents_BD = torch.empty(len(jobs), self._model.latent_dim, device=self._device)
        if posted:
            latents_BD[posted] = self._encoded([jobs[row] for row in posted])
        kept = [row for row, job in enumerate(jobs) if job.latent_D is not None]
        # One copy for all of them; np.stack also takes the read-only arrays a store decodes to.
        stored_BD = np.stack([job.latent_D for job in jobs if job.latent_D is not None])
        latents_BD[kept] = to_device(torch.from_numpy(stored_BD), self._device)
        return latents_BD

    def _encoded(self, jobs: Sequence[Job]) -> Tensor:
        batch = _batch_of(jobs).to(self._device)
        with self._timed("encode"):
            return self._ranker.encode(batch)

    @contextmanager
    def _timed(self, stage: Literal["encode", "retrieve"]) -> Iterator[None]:
        started_s = time.perf_counter()
        yield
        self._observe(stage, time.perf_counter() - started_s)


def _wanted(job: Job) -> Wanted:
    """Give what to retrieve: of a row with a taste, the pool to pick from."""
    if job.wish.taste.is_plain:
        return job.wanted
    return replace(job.wanted, k=pool_size(job.wanted.k))


def _batch_of(jobs: Sequence[Job]) -> HistoryBatch:
    histories = [job.history for job in jobs if job.history is not None]
    return HistoryBatch.from_rows(histories, [job.user_index for job in jobs])
