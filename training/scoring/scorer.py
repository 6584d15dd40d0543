"""Scores histories as the service does: a bundle, loaded and proven once, and frames through it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from service import canaries, checkpoint
from service.dense_layers import dense_layers_of
from service.device import pick_device
from service.histories import UNKNOWN_USER, HistoryBatch
from service.opinion import Opinion
from service.ranker import ModelRanker
from service.recommendation import PostedHistory
from service.retrieval.base import TopK, Wanted
from service.retrieval.certificate import not_counted
from service.retrieval.popularity import most_popular
from service.retrieval_mode import find_retrieval
from training.scoring.plan import ScoringPlan

# One row a user; ``reason`` is null where the model answered.
SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "user_id": pl.String(),
    "item_ids": pl.List(pl.String()),
    "scores": pl.List(pl.Float32()),
    "source": pl.String(),
    "reason": pl.String(),
    "unknown_items": pl.List(pl.String()),
}
NOTHING_HIDDEN: Final = np.empty(0, dtype=np.int64)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _User:
    opinion: Opinion
    unknown_items: tuple[str, ...]
    user_index: int
    wanted: Wanted


@final
class Scorer:
    """Answers for each user with the list that the service gives to the same posted history.

    Torch's number of threads is the process's own affair; ``plan.threads`` is that of the rest.

    Args:
        plan: What to score with, and how.

    Raises:
        CheckpointError: The bundle cannot be used; its subclasses say why.
        SettingsError: The way of retrieval is not for this device, or lacks its package.
    """

    def __init__(self, plan: ScoringPlan) -> None:
        loaded = checkpoint.load(plan.bundle, pick_device(plan.device))
        found = find_retrieval(loaded, plan.retrieval, plan.threads, not_counted)
        layers = dense_layers_of(loaded.model, plan.threads)
        self._ranker = ModelRanker(loaded.model, found.retriever, layers)
        canaries.replay(self._ranker, loaded.canaries)
        self._plan = plan
        self._catalog = loaded.catalog
        self._threshold = loaded.manifest.positive_threshold
        self._scale = loaded.model.config.scale if loaded.model.reads_ratings else None
        self._user_index_of = {user_id: index for index, user_id in enumerate(loaded.user_ids)}

    def lists(self, histories: pl.DataFrame) -> pl.DataFrame:
        """Give the lists of users, in their order.

        Args:
            histories: Of the schema of ``training.scoring.histories``.

        Returns:
            A frame of ``SCHEMA``.
        """
        users = [self._read(*row) for row in histories.iter_rows()]
        tops: list[TopK] = []
        for start in range(0, len(users), self._plan.batch_size):
            tops += self._tops(users[start : start + self._plan.batch_size])
        return self._as_frame(histories["user_id"], users, tops)

    def _read(
        self,
        user_id: str,
        item_ids: list[str],
        ratings: list[float | None] | None,
        weights: list[float | None] | None,
    ) -> _User:
        none = (None,) * len(item_ids)
        posted = PostedHistory.of_columns(
            tuple(item_ids),
            tuple(ratings or none),
            tuple(1.0 if weight is None else weight for weight in weights or none),
        )
        item_index_N, unknown_items = self._catalog.indices(posted.item_ids)
        opinion = Opinion.of(posted, item_index_N, self._threshold, self._scale)
        wanted = Wanted(self._plan.k, self._hidden(opinion))
        user_index = self._user_index_of.get(user_id, UNKNOWN_USER)
        return _User(opinion, unknown_items, user_index, wanted)

    def _hidden(self, opinion: Opinion) -> NDArray[np.int64]:
        if self._plan.keep_seen:
            return NOTHING_HIDDEN
        return np.concatenate([opinion.history.item_index_N, opinion.disliked_N])

    @torch.inference_mode()
    def _tops(self, users: Sequence[_User]) -> list[TopK]:
        """Let the model answer those whom it can, and popularity the others."""
        known = [user for user in users if not user.opinion.reason]
        rows = [user.opinion.history for user in known]
        batch = HistoryBatch.from_rows(rows, [user.user_index for user in known])
        answers = iter(self._ranker.top_k(batch, [user.wanted for user in known]) if known else ())
        return [
            most_popular(self._catalog, user.wanted) if user.opinion.reason else next(answers)
            for user in users
        ]

    def _as_frame(
        self, user_ids: pl.Series, users: Sequence[_User], tops: Sequence[TopK]
    ) -> pl.DataFrame:
        id_of = self._catalog.item_ids.__getitem__
        columns: dict[str, Any] = {
            "user_id": user_ids,
            "item_ids": [list(map(id_of, top.item_index_K.tolist())) for top in tops],
            "scores": [top.score_K for top in tops],
            "source": ["popularity" if user.opinion.reason else "model" for user in users],
            "reason": [user.opinion.reason or None for user in users],
            "unknown_items": [list(user.unknown_items) for user in users],
        }
        return pl.DataFrame(columns, schema=dict(SCHEMA))
