"""Runs one mixed batch: encode the rows that lack a latent, retrieve for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.autoencoders.base import Autoencoder
from service.histories import UNKNOWN_USER, History, HistoryBatch
from service.retrieval.base import Retriever, TopK, Wanted


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
    """The answer to a job: its list, and the latent that it came from."""

    top: TopK
    latent_D: NDArray[np.float32]


@final
class Engine:
    """A model and its retriever, on one device. Not thread-safe: one worker runs it."""

    def __init__(self, model: Autoencoder, retriever: Retriever) -> None:
        self._model = model
        self._retriever = retriever
        self._device = model.item_bias_I.device

    @torch.inference_mode()
    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Answer a batch of at least one job, in order."""
        latents_BD = self._latents(jobs)
        queries_BH = self._model.queries(latents_BD)
        tops = self._retriever.top_k(queries_BH, [job.wanted for job in jobs])
        kept_BD = latents_BD.cpu().numpy()
        return [Outcome(top, latent_D.copy()) for top, latent_D in zip(tops, kept_BD, strict=True)]

    def _latents(self, jobs: Sequence[Job]) -> Tensor:
        latents_BD = torch.empty(len(jobs), self._model.latent_dim, device=self._device)
        posted = [row for row, job in enumerate(jobs) if job.history is not None]
        if posted:
            histories = [job.history for job in jobs if job.history is not None]
            user_indices = [jobs[row].user_index for row in posted]
            batch = HistoryBatch.from_rows(histories, user_indices).to(self._device)
            latents_BD[posted] = self._model.encode(batch)
        kept = [row for row, job in enumerate(jobs) if job.latent_D is not None]
        if kept:
            # One copy for all of them; np.stack also takes the read-only arrays a store decodes to.
            stored_BD = np.stack([job.latent_D for job in jobs if job.latent_D is not None])
            latents_BD[kept] = torch.from_numpy(stored_BD).to(self._device)
        return latents_BD
