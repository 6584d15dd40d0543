"""Models of ratings behind the use case: what is rated low is encoded as that, and seen."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from service.autoencoders.rating_scale import RatingScale
from service.deployment import Deployment, Loader
from service.fleet import Fleet
from service.histories import History, HistoryBatch
from service.inference.batcher import Batcher
from service.latents.memory_store import MemoryStore
from service.limits import Limits
from service.recommendation import HistoryEntry, PostedHistory, Query
from service.recommender import Recommender
from service.telemetry import Telemetry

NUM_ITEMS = 30
CONFIG = {
    "latent_dim": 6,
    "scale": {"lowest": -10, "highest": 10, "mean": 1, "typical": 5},
}
HISTORY = PostedHistory.of(
    [HistoryEntry("i4", rating=-9), HistoryEntry("i9", rating=99), HistoryEntry("i2")]
)
READ = History.of([4, 9, 2], [-9, 10, 5])
TinyBundle = Callable[..., Path]


@pytest.fixture(params=["autorec-user", "autorec-item"])
def bundle(request: pytest.FixtureRequest, tiny_bundle: TinyBundle) -> Path:
    return tiny_bundle(request.param, config=CONFIG)


@asynccontextmanager
async def running(deployment: Deployment) -> AsyncIterator[Recommender]:
    telemetry = Telemetry()
    batcher = Batcher(8, 100, 5.0, telemetry, time.monotonic)
    batcher.start()
    store = MemoryStore(capacity=10, ttl_s=60, clock=time.monotonic)
    limits = Limits(max_history=100, max_k=100)
    yield Recommender(Fleet.of_one(deployment), batcher, store, telemetry, limits)
    await batcher.close()


def opened(bundle: Path) -> Deployment:
    return Deployment.open(bundle, Loader(torch.device("cpu"), Telemetry()))


def predicted_I(deployment: Deployment) -> np.ndarray:
    model = deployment.current.checkpoint.model
    query_BH = model.queries(model.encode(HistoryBatch.from_rows([READ]))).double()
    score_BI = query_BH @ model.item_vectors_IH.double().T + model.item_bias_I.double()
    scores: np.ndarray = score_BI[0].numpy()
    return scores


def test_a_served_model_of_ratings_knows_its_scale(bundle: Path, tiny_bundle: TinyBundle) -> None:
    served = opened(bundle).current
    assert served.rating_scale == RatingScale(-10, 10, 1, 5)
    assert served.positive_threshold is None
    assert opened(tiny_bundle("multvae")).current.rating_scale is None


async def test_a_list_is_ranked_by_predicted_ratings_and_hides_what_is_rated(bundle: Path) -> None:
    deployment = opened(bundle)
    score_I = predicted_I(deployment)
    async with running(deployment) as recommender:
        answer = await recommender.recommend(Query(HISTORY, None, k=NUM_ITEMS))
    shown = [item for item in range(NUM_ITEMS) if item not in {2, 4, 9}]
    expected = sorted(shown, key=lambda item: (-np.float32(score_I[item]), item))
    assert answer.source == "model"
    assert answer.top.item_index_K.tolist() == expected
    np.testing.assert_allclose(answer.top.score_K, score_I[expected], rtol=1e-5, atol=1e-5)


async def test_a_user_id_alone_gets_the_list_of_the_kept_latent(bundle: Path) -> None:
    async with running(opened(bundle)) as recommender:
        posted = await recommender.recommend(Query(HISTORY, "u", k=NUM_ITEMS))
        kept = await recommender.recommend(Query(None, "u", k=NUM_ITEMS))
    assert (posted.cache, kept.cache) == ("bypass", "hit")
    assert kept.top.item_index_K.tolist() == posted.top.item_index_K.tolist()
    assert kept.top.score_K.tolist() == posted.top.score_K.tolist()


async def test_only_low_ratings_are_enough_to_go_on(bundle: Path) -> None:
    async with running(opened(bundle)) as recommender:
        history = PostedHistory.of([HistoryEntry("i1", rating=-10)])
        answer = await recommender.recommend(Query(history, None, k=5))
    assert (answer.source, answer.reason) == ("model", "")
