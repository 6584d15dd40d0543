"""Served lists against float64 arithmetic on the tensors of the bundle, without a line of torch."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from service import checkpoint
from service.deployment import Deployment, Loader
from service.fleet import Fleet
from service.inference.batcher import Batcher
from service.latents.memory_store import MemoryStore
from service.limits import Limits
from service.recommendation import HistoryEntry, PostedHistory, Query, Recommendation
from service.recommender import Recommender
from service.telemetry import Telemetry

NUM_ITEMS = 120
NUM_REQUESTS = 2000
POSITIVE_THRESHOLD = 4.0
TIE = 1e-5
USER_IDS = [f"user {row}" for row in range(10)]
CONFIGS: dict[str, dict[str, Any]] = {
    "multvae": {"latent_dim": 8, "hidden_dims": [20, 12]},
    "cdae": {"latent_dim": 16},
    "edlae": {"num_weights": 5000},
    "elsa": {"latent_dim": 16},
}
Tensors = Mapping[str, NDArray[np.float64]]


def multvae_scores(tensors: Tensors, x_I: NDArray[np.float64], _: str | None) -> NDArray[Any]:
    hidden = np.tanh(x_I @ tensors["input.weight_IH"] + tensors["input.bias_H"])
    hidden = np.tanh(tensors["encoder.1.0.weight"] @ hidden + tensors["encoder.1.0.bias"])
    posterior = tensors["posterior.weight"] @ hidden + tensors["posterior.bias"]
    hidden = posterior[: len(posterior) // 2]
    for layer in ("decoder.0", "decoder.2"):
        hidden = np.tanh(tensors[f"{layer}.weight"] @ hidden + tensors[f"{layer}.bias"])
    scores: NDArray[Any] = tensors["item_vectors_IH"] @ hidden + tensors["item_bias_I"]
    return scores


def cdae_scores(tensors: Tensors, x_I: NDArray[np.float64], user_id: str | None) -> NDArray[Any]:
    row = tensors["unknown_row_D"]
    if user_id in USER_IDS:
        row = tensors["user_rows_UD"][USER_IDS.index(user_id)]
    hidden = np.tanh(x_I @ tensors["input.weight_IH"] + tensors["input.bias_H"] + row)
    scores: NDArray[Any] = tensors["item_vectors_IH"] @ hidden + tensors["item_bias_I"]
    return scores


def edlae_scores(tensors: Tensors, x_I: NDArray[np.float64], _: str | None) -> NDArray[Any]:
    bounds = tensors["linear.offset_I1"].astype(int)
    weights_II = np.zeros((NUM_ITEMS, NUM_ITEMS))
    for source in range(NUM_ITEMS):
        entries = slice(bounds[source], bounds[source + 1])
        targets = tensors["linear.item_index_M"][entries].astype(int)
        weights_II[source, targets] = tensors["linear.weight_M"][entries]
    scores: NDArray[Any] = x_I @ weights_II + tensors["item_bias_I"]
    return scores


def elsa_scores(tensors: Tensors, x_I: NDArray[np.float64], _: str | None) -> NDArray[Any]:
    vectors_IH = tensors["item_vectors_IH"]
    scores: NDArray[Any] = vectors_IH @ (vectors_IH.T @ x_I) + tensors["item_bias_I"]
    return scores


BRUTE_FORCE: dict[str, Callable[[Tensors, NDArray[np.float64], str | None], NDArray[Any]]] = {
    "multvae": multvae_scores,
    "cdae": cdae_scores,
    "edlae": edlae_scores,
    "elsa": elsa_scores,
}
# Models that take the weights of entries as they are posted.
AS_POSTED = {"edlae"}


@dataclass(frozen=True)
class Case:
    """A query, and the posted history that it stands for (its own, or the kept one)."""

    query: Query
    history: tuple[HistoryEntry, ...]


def random_entries(chance: random.Random) -> tuple[HistoryEntry, ...]:
    length = chance.choice(
        [0, 1, 2, 5, 20, NUM_ITEMS // 2, NUM_ITEMS, chance.randint(0, NUM_ITEMS)]
    )
    item_indices = chance.sample(range(NUM_ITEMS), length)
    item_ids = [f"i{index}" for index in item_indices]
    item_ids += chance.choices(item_ids, k=chance.randint(0, 5)) if item_ids else []
    item_ids += [f"unknown {n}" for n in range(chance.choice([0, 0, 1, 3]))]
    chance.shuffle(item_ids)
    return tuple(
        HistoryEntry(
            item_id,
            rating=chance.choice([None, None, 1.0, 3.5, 4.0, 5.0]),
            weight=chance.choice([1.0, 1.0, 0.5, 3.0]),
        )
        for item_id in item_ids
    )


def random_case(chance: random.Random, kept: dict[str, tuple[HistoryEntry, ...]]) -> Case:
    """Half of the users that were seen before come without a history."""
    user_id = chance.choice([None, *USER_IDS, "stranger 1", "stranger 2"])
    from_store = user_id in kept and chance.random() < 0.5
    history = kept[user_id] if from_store and user_id else random_entries(chance)
    excluded = chance.choice([0, 0, 1, 10, NUM_ITEMS])
    query = Query(
        history=None if from_store else PostedHistory.of(history),
        user_id=user_id,
        k=chance.choice([1, 20, NUM_ITEMS, NUM_ITEMS + 7, chance.randint(1, NUM_ITEMS)]),
        exclude_items=tuple(f"i{chance.randrange(NUM_ITEMS + 3)}" for _ in range(excluded)),
        exclude_seen=chance.random() < 0.8,
    )
    if user_id:
        kept[user_id] = history
    return Case(query, history)


def known(item_ids: Sequence[str]) -> set[int]:
    catalog = {f"i{index}": index for index in range(NUM_ITEMS)}
    return {catalog[item_id] for item_id in item_ids if item_id in catalog}


def liked_weights(history: Sequence[HistoryEntry]) -> dict[int, float]:
    weights: dict[int, float] = {}
    for entry in history:
        for index in known([entry.item_id]):
            if entry.rating is None or entry.rating >= POSITIVE_THRESHOLD:
                weights[index] = max(weights.get(index, 0.0), entry.weight)
    return weights


def hidden_items(case: Case) -> set[int]:
    seen = known([entry.item_id for entry in case.history]) if case.query.exclude_seen else set()
    return seen | known(case.query.exclude_items)


def assert_exact(answer: Recommendation, case: Case, score_I: NDArray[Any]) -> None:
    """Compare with the full sort; only scores within ``TIE`` of each other may trade places."""
    hidden = hidden_items(case)
    eligible = [index for index in range(NUM_ITEMS) if index not in hidden]
    eligible.sort(key=lambda index: (-score_I[index], index))
    expected = eligible[: case.query.k]
    found = answer.top.item_index_K.tolist()
    assert len(found) == len(set(found)) == len(expected)
    assert not hidden.intersection(found)
    np.testing.assert_allclose(answer.top.score_K, score_I[expected], rtol=0, atol=TIE)
    np.testing.assert_allclose(score_I[found], score_I[expected], rtol=0, atol=TIE)


def assert_case(answer: Recommendation, case: Case, architecture: str, tensors: Tensors) -> None:
    weights = liked_weights(case.history)
    if not weights:
        assert answer.source == "popularity"
        assert_exact(answer, case, answer.catalog.popularity_I.astype(np.float64))
        # Whole numbers leave no doubt about ties.
        counts_K = list(zip(-answer.top.score_K, answer.top.item_index_K, strict=True))
        assert counts_K == sorted(counts_K)
        return
    assert answer.source == "model"
    assert answer.cache == ("hit" if case.query.history is None else "bypass")
    x_I = np.zeros(NUM_ITEMS)
    x_I[list(weights)] = list(weights.values())
    if architecture not in AS_POSTED:
        x_I /= np.linalg.norm(x_I)
    assert_exact(answer, case, BRUTE_FORCE[architecture](tensors, x_I, case.query.user_id))


async def answered(bundle: Path, cases: Sequence[Case]) -> list[Recommendation]:
    """Ask in crowds, so that batches mix; one user's queries never stand in the same crowd."""
    telemetry = Telemetry()
    batcher = Batcher(32, 1000, 1.0, telemetry, lambda: 0.0)
    recommender = Recommender(
        Fleet.of_one(Deployment.open(bundle, Loader(torch.device("cpu"), telemetry))),
        batcher,
        MemoryStore(100, 600, time.monotonic),
        telemetry,
        Limits(max_history=1000, max_k=1000),
    )
    batcher.start()
    answers: list[Recommendation] = []
    while len(answers) < len(cases):
        crowd: list[Query] = []
        users: set[str] = set()
        for case in cases[len(answers) : len(answers) + 40]:
            if case.query.user_id in users:
                break
            users.update([case.query.user_id] if case.query.user_id else [])
            crowd.append(case.query)
        answers += await asyncio.gather(*map(recommender.recommend, crowd))
    await batcher.close()
    return answers


@pytest.mark.parametrize("architecture", sorted(CONFIGS))
async def test_random_requests_get_the_lists_of_a_float64_brute_force(
    write_bundle: Callable[..., Path], tmp_path: Path, architecture: str
) -> None:
    bundle = write_bundle(
        tmp_path,
        NUM_ITEMS,
        architecture,
        config=CONFIGS[architecture],
        user_ids=USER_IDS if architecture == "cdae" else (),
        positive_threshold=POSITIVE_THRESHOLD,
    )
    tensors = {
        name: tensor.astype(np.float64)
        for name, tensor in load_file(bundle / checkpoint.WEIGHTS).items()
    }
    chance = random.Random(7)
    kept: dict[str, tuple[HistoryEntry, ...]] = {}
    cases = [random_case(chance, kept) for _ in range(NUM_REQUESTS)]
    answers = await answered(bundle, cases)
    for answer, case in zip(answers, cases, strict=True):
        assert_case(answer, case, architecture, tensors)
    sources = [(answer.source, answer.cache) for answer in answers]
    assert {sources.count(kind) > 100 for kind in set(sources)} == {True}
    assert len(set(sources)) == 4
