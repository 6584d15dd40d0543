"""Full-rank linear models behind the use case: they keep histories where others keep latents."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from service import checkpoint
from service.deployment import Deployment, Loader
from service.errors import CheckpointCorruptError
from service.fleet import Fleet
from service.inference.batcher import Batcher
from service.latents.memory_store import MemoryStore
from service.latents.redis_store import RedisStore
from service.latents.store import LatentStore
from service.limits import Limits
from service.recommendation import HistoryEntry, PostedHistory, Query, Recommendation
from service.recommender import Recommender
from service.telemetry import Telemetry

NUM_ITEMS = 30
HISTORY = (
    HistoryEntry("i4", weight=0.5),
    HistoryEntry("i9", weight=3.0),
    HistoryEntry("i2"),
    HistoryEntry("i5", rating=1),
)
TinyBundle = Callable[..., Path]


@pytest.fixture(params=[pytest.param("redis", marks=pytest.mark.redis), "memory"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[LatentStore]:
    opened: LatentStore = MemoryStore(capacity=10, ttl_s=60, clock=time.monotonic)
    if request.param == "redis":
        opened = RedisStore(request.getfixturevalue("redis_server").url, timeout_s=5, ttl_s=60)
    yield opened
    await opened.close()


@asynccontextmanager
async def running(model_dir: Path, store: LatentStore) -> AsyncIterator[Recommender]:
    telemetry = Telemetry()
    deployment = Deployment.open(model_dir, Loader(torch.device("cpu"), telemetry))
    batcher = Batcher(8, 100, 5.0, telemetry, time.monotonic)
    batcher.start()
    limits = Limits(max_history=100, max_k=100)
    yield Recommender(Fleet.of_one(deployment), batcher, store, telemetry, limits)
    await batcher.close()


def query(history: tuple[HistoryEntry, ...] | None, **fields: Any) -> Query:  # noqa: ANN401 - of any field of Query
    posted = None if history is None else PostedHistory.of(history)
    return Query(**{"history": posted, "user_id": "u", "k": NUM_ITEMS, **fields})


def dense_scores(bundle: Path, weights: dict[int, float]) -> np.ndarray:
    tensors = load_file(checkpoint.resolve(bundle) / checkpoint.WEIGHTS)
    score_I: np.ndarray = tensors["item_bias_I"].astype(np.float64)
    bounds = tensors["linear.offset_I1"]
    for item, weight in weights.items():
        entries = slice(bounds[item], bounds[item + 1])
        score_I[tensors["linear.item_index_M"][entries]] += weight * tensors["linear.weight_M"][
            entries
        ].astype(np.float64)
    return score_I


def assert_brute_force(answer: Recommendation, score_I: np.ndarray, hidden: set[int]) -> None:
    shown = [index for index in range(NUM_ITEMS) if index not in hidden]
    expected = sorted(shown, key=lambda index: (-np.float32(score_I[index]), index))
    assert answer.top.item_index_K.tolist() == expected
    np.testing.assert_allclose(answer.top.score_K, score_I[expected], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("architecture", ["ease", "edlae"])
async def test_a_user_id_alone_gets_the_list_of_the_kept_history_and_its_weights(
    tiny_bundle: TinyBundle, store: LatentStore, architecture: str
) -> None:
    bundle = tiny_bundle(architecture, positive_threshold=4)
    score_I = dense_scores(bundle, {4: 0.5, 9: 3.0, 2: 1.0})
    async with running(bundle, store) as recommender:
        for fields, hidden in (({}, {2, 4, 5, 9}), ({"exclude_seen": False}, set())):
            posted = await recommender.recommend(query(HISTORY, **fields))
            kept = await recommender.recommend(query(None, **fields))
            assert (posted.source, posted.cache) == ("model", "bypass")
            assert (kept.source, kept.cache) == ("model", "hit")
            assert_brute_force(posted, score_I, hidden)
            assert kept.top.item_index_K.tobytes() == posted.top.item_index_K.tobytes()
            assert kept.top.score_K.tobytes() == posted.top.score_K.tobytes()


async def test_what_is_kept_is_the_liked_items_and_their_weights(
    tiny_bundle: TinyBundle, store: LatentStore
) -> None:
    async with running(tiny_bundle("edlae", positive_threshold=4), store) as recommender:
        served = recommender.fleet.served(None)
        assert served.retriever_name == "item-item"
        assert served.kept_dim is None
        await recommender.recommend(query(HISTORY, user_id="kept"))
        record = await store.get("kept", served.digest)
        assert record is not None
        assert record.liked_N.tolist() == [2, 4, 9]
        assert record.latent_D.tolist() == [1.0, 0.5, 3.0]
        assert record.disliked_N.tolist() == [5]


async def test_a_user_of_whom_nothing_is_kept_gets_labelled_popularity(
    tiny_bundle: TinyBundle, store: LatentStore
) -> None:
    async with running(tiny_bundle("edlae"), store) as recommender:
        answer = await recommender.recommend(query(None, user_id="nobody"))
        assert (answer.source, answer.reason, answer.cache) == (
            "popularity", "unknown_user", "miss",
        )  # fmt: skip


async def test_a_low_rank_model_keeps_latents(tiny_bundle: TinyBundle, store: LatentStore) -> None:
    async with running(tiny_bundle("elsa"), store) as recommender:
        served = recommender.fleet.served(None)
        assert (served.retriever_name, served.kept_dim) == ("exact", 6)
        posted = await recommender.recommend(query(HISTORY))
        kept = await recommender.recommend(query(None))
        assert kept.cache == "hit"
        assert kept.top.item_index_K.tolist() == posted.top.item_index_K.tolist()


def test_a_bundle_whose_item_item_matrix_is_none_is_refused(
    tiny_bundle: TinyBundle,
) -> None:
    bundle = tiny_bundle("edlae")
    loaded = checkpoint.load(bundle)
    assert loaded.model.linear is not None
    loaded.model.linear.item_index_M = loaded.model.linear.item_index_M + NUM_ITEMS
    files = checkpoint.bundle_files(loaded.model, loaded.catalog, loaded.user_ids, loaded.canaries)
    checkpoint.save(loaded.manifest, files, bundle)
    with pytest.raises(CheckpointCorruptError, match="names an item that there is not"):
        checkpoint.load(bundle)
