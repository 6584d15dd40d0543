"""Shadow scoring: what other models would have answered, found out behind the answer.

A list is sent before its shadow is looked at. The shadow's row takes the turn of a bulk row in the
engine, nothing of it is kept of the user, and where too many wait already it is left out.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, final

import numpy as np

from service.errors import FoldinError, InvalidRequestError, UnsupportedControlError
from service.recommendation import Query, Recommendation
from service.recommender import Recommender
from service.telemetry import Telemetry

logger = logging.getLogger(__name__)

# Lists that wait for their shadows: more than one batch of the engine, and little memory.
MAX_WAITING: Final = 64


@final
class Shadow:
    """Follows the lists of a recommender.

    Args:
        recommender: Knows the models.
        models: Names of those that are tried.
        share: Of the lists that are followed, 0 to 1.
        telemetry: Counts what became of them, and how far the lists agree.
        draw: Gives a number in [0, 1).
    """

    def __init__(
        self,
        recommender: Recommender,
        models: tuple[str, ...],
        share: float,
        telemetry: Telemetry,
        draw: Callable[[], float],
    ) -> None:
        self._recommender = recommender
        self._models = models
        self._share = share
        self._telemetry = telemetry
        self._draw = draw
        self._waiting: set[asyncio.Task[None]] = set()

    def follow(self, query: Query, answered: Recommendation) -> None:
        """Have the shadows of a list found out, later; fallbacks cast none."""
        models = [model for model in self._models if model != answered.model_name]
        if answered.source != "model" or not models or self._draw() >= self._share:
            return
        if len(self._waiting) >= MAX_WAITING:
            for model in models:
                self._telemetry.shadows.labels(model, "skipped").inc()
            return
        task = asyncio.create_task(self._find(query, answered, models))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def close(self) -> None:
        """Give up what waits still."""
        waiting = list(self._waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _find(self, query: Query, answered: Recommendation, models: list[str]) -> None:
        for model in models:
            outcome = "made"
            try:
                item_ids = await self._recommender.preview(query, model)
            except UnsupportedControlError:
                outcome = "unsupported"
            except InvalidRequestError:  # it lacks an item, and the caller is strict about them
                outcome = "no_list"
            except FoldinError:
                outcome = "failed"
            except Exception:  # a fault of one shadow must not take the others with it
                outcome = "failed"
                logger.exception("a shadow failed", extra={"fields": {"shadow": model}})
            else:
                if item_ids is None:
                    outcome = "no_list"
                else:
                    self._compare(answered, model, item_ids)
            self._telemetry.shadows.labels(model, outcome).inc()

    def _compare(self, answered: Recommendation, model: str, shadow_ids: list[str]) -> None:
        item_ids = answered.catalog.item_ids
        answered_ids = [item_ids[index] for index in answered.top.item_index_K.tolist()]
        shared = np.isin(answered_ids, shadow_ids).mean() if answered_ids else 1.0
        self._telemetry.shadow_overlap.labels(model).observe(float(shared))
        # With its items, which nobody else is told: outcomes of the answer can be joined to them.
        fields = {
            "recommendation_id": answered.recommendation_id,
            "model": answered.model_name,
            "shadow": model,
            "overlap": round(float(shared), 3),
            "shadow_items": shadow_ids,
        }
        logger.info("shadow", extra={"fields": fields})
