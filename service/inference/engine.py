"""Runs one mixed batch: encode the rows that lack a latent, retrieve for all of them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.device import to_device, to_host
from service.histories import UNKNOWN_USER, History, HistoryBatch
from service.ranker import ModelRanker
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
    """

    wanted: Wanted
    history: History | None = None
    latent_D: NDArray[np.float32] | None = None
    user_index: int = UNKNOWN_USER

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
    """

    top: TopK
    latent_D: NDArray[np.float32]


@final
class Engine:
    """A model and its retriever, on one device. Not thread-safe: one worker runs it.

    Args:
        ranker: The model with its retriever.
        observe: Told how many seconds each stage of a batch took. A GPU encodes on while the next
            stage begins; there the time of encoding is part of that of retrieval.
    """

    def __init__(self, ranker: ModelRanker, observe: Observe = not_observed) -> None:
        self._ranker = ranker
        self._observe = observe
        self._model = ranker.model
        self._device = ranker.model.item_bias_I.device

    @torch.inference_mode()
    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Answer a batch of at least one job, in order."""
        wanted = [job.wanted for job in jobs]
        if self._model.keeps_history:
            histories = [job.history for job in jobs if job.history is not None]
            batch = HistoryBatch.from_rows(histories, [job.user_index for job in jobs])
            batch = batch.to(self._device)
            with self._timed("encode"):
                latents_BD = self._ranker.encode(batch)
            with self._timed("retrieve"):
                tops = self._ranker.decode(latents_BD, wanted, batch)
            pairs = zip(tops, histories, strict=True)
            return [Outcome(top, history.weight_N) for top, history in pairs]
        latents_BD = self._latents(jobs)
        with self._timed("retrieve"):
            tops = self._ranker.decode(latents_BD, wanted)
        kept_BD = to_host(latents_BD)[0].numpy()
        return [Outcome(top, latent_D.copy()) for top, latent_D in zip(tops, kept_BD, strict=True)]

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
        histories = [job.history for job in jobs if job.history is not None]
        batch = HistoryBatch.from_rows(histories, [job.user_index for job in jobs])
        with self._timed("encode"):
            return self._ranker.encode(batch.to(self._device))

    @contextmanager
    def _timed(self, stage: Literal["encode", "retrieve"]) -> Iterator[None]:
        started_s = time.perf_counter()
        yield
        self._observe(stage, time.perf_counter() - started_s)
