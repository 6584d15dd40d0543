"""The list served for a held-out user is the list that the trainer evaluated, through HTTP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from service.app import create_app
from service.settings import Settings
from training.config import TrainingConfig
from training.data.datasets import DataOptions, Dataset, load_dataset
from training.experiment import Experiment, run_experiment
from training.metrics import RankingMetrics, ranking_metrics
from training.state import EpochReport

CONFIG = {
    "multvae": {"latent_dim": 32, "hidden_dims": [64], "epochs": 4, "batch_size": 100},
    "cdae": {"latent_dim": 32, "epochs": 4, "batch_size": 100, "loss": "logistic"},
}


class Silent:
    def on_step(self, users: float) -> None: ...

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None: ...


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset("movielens-small", DataOptions())


@pytest.fixture(scope="module", params=sorted(CONFIG))
def trained(
    request: pytest.FixtureRequest, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Experiment, Path]:
    model_dir = tmp_path_factory.mktemp("models")
    config = TrainingConfig.of({"model": request.param, **CONFIG[request.param]})
    return run_experiment(dataset, config, model_dir, Silent(), resume=False), model_dir


@pytest.fixture
async def client(trained: tuple[Experiment, Path]) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(model_dir=trained[1]))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://foldin") as client,
    ):
        for _ in range(1000):
            if (await client.get("/readyz")).status_code == httpx.codes.OK:
                break
            await asyncio.sleep(0.02)
        yield client


async def test_ndcg_through_http_equals_the_trainers(
    client: httpx.AsyncClient, trained: tuple[Experiment, Path], dataset: Dataset
) -> None:
    held_out, item_ids = dataset.split.test, dataset.split.item_ids
    index_of = {item_id: index for index, item_id in enumerate(item_ids)}
    lists: list[np.ndarray] = []
    for user in range(len(held_out.user_ids)):
        history = [item_ids[index] for index in held_out.history[[user]].indices]
        answer = await client.post("/recommend", json={"history": history, "k": 100})
        assert answer.status_code == httpx.codes.OK
        served = [item["item_id"] for item in answer.json()["items"]]
        assert not set(served) & set(history)
        lists.append(np.array([index_of[item_id] for item_id in served]))
    targets = [held_out.target[[user]].indices for user in range(len(held_out.user_ids))]
    through_http = ranking_metrics(lists, targets)
    evaluated = trained[0].metrics["test"]
    assert isinstance(evaluated, RankingMetrics)
    assert through_http.users == evaluated.users
    assert through_http.values == pytest.approx(evaluated.values, abs=1e-6)
