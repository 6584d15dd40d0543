from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

import numpy as np
import pytest
import torch
from torch import Tensor

from service import checkpoint, deployment
from service.deployment import Deployment, Loader, Served
from service.errors import CanaryMismatchError, CheckpointMissingError
from service.histories import History, HistoryBatch
from service.inference.engine import Engine, Job
from service.ranker import ModelRanker, retriever_for
from service.retrieval.base import Retriever, TopK, Wanted
from service.retrieval.exact import ExactRetriever
from service.retrieval_mode import FoundRetrieval
from service.telemetry import Telemetry

CPU = torch.device("cpu")
TinyBundle = Callable[..., Path]


def test_an_open_deployment_serves_the_bundle_that_current_names(tiny_bundle: TinyBundle) -> None:
    model_dir = tiny_bundle("multvae", num_items=21, positive_threshold=4)
    served = Deployment.open(model_dir, Loader(CPU, Telemetry())).current
    assert served.name == "multvae"
    assert served.version == (model_dir / "CURRENT").read_text()
    assert served.digest.startswith(served.version.split("-")[1])
    assert len(served.catalog) == 21
    assert served.positive_threshold == 4
    assert served.kept_dim == 4
    assert served.retriever_name == "exact"
    assert served.user_index_of == {}
    wanted = Wanted(3, np.empty(0, dtype=np.int64))
    (outcome,) = served.engine.run([Job(wanted, history=History.of([2]))])
    assert len(outcome.top.item_index_K) == 3


def test_users_with_a_row_of_their_own_are_found_by_id(tiny_bundle: TinyBundle) -> None:
    served = Deployment.open(tiny_bundle("cdae"), Loader(CPU, Telemetry())).current
    assert served.user_index_of == {"u0": 0, "u1": 1, "u2": 2}


def test_a_model_that_answers_other_than_at_its_trainers_is_not_served(
    tiny_bundle: TinyBundle,
) -> None:
    telemetry = Telemetry()
    with pytest.raises(CanaryMismatchError, match="canary 0"):
        Deployment.open(tiny_bundle(canary_error=0.01), Loader(CPU, telemetry))
    assert b"foldin_model_info{" not in telemetry.exposition()


@final
class Forgetful:
    """An index that misses the best item of every list."""

    name = "ann"

    def __init__(self, exact: Retriever) -> None:
        self._exact = exact

    def top_k(
        self, query_BH: Tensor, wanted: Sequence[Wanted], histories: HistoryBatch | None = None
    ) -> list[TopK]:
        tops = self._exact.top_k(query_BH, wanted, histories)
        return [TopK(top.item_index_K[1:], top.score_K[1:]) for top in tops]


def test_what_an_index_misses_is_told_and_is_not_the_models_fault(
    tiny_bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(loaded: checkpoint.Checkpoint, *_: object) -> FoundRetrieval:
        exact = retriever_for(loaded.model)
        return FoundRetrieval(Forgetful(exact), exact, recall=0.9)

    monkeypatch.setattr(deployment, "find_retrieval", find)
    served = Deployment.open(tiny_bundle("multvae"), Loader(CPU, Telemetry(), "ann")).current
    assert (served.retriever_name, served.recall) == ("ann", 0.9)
    with pytest.raises(CanaryMismatchError):
        Deployment.open(tiny_bundle("multvae", canary_error=0.01), Loader(CPU, Telemetry(), "ann"))


def test_errors_of_the_bundle_pass_through(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissingError, match=r"no manifest\.json"):
        Deployment.open(tmp_path, Loader(CPU, Telemetry()))


def test_metrics_tell_which_model_answers(tiny_bundle: TinyBundle) -> None:
    telemetry = Telemetry()
    version = Deployment.open(tiny_bundle("cdae"), Loader(CPU, telemetry)).current.version
    labels = f'architecture="cdae",name="cdae",retrieval="exact",version="{version}"'
    assert f"foldin_model_info{{{labels}}} 1.0" in telemetry.exposition().decode()


def test_an_open_deployment_is_warm(tiny_bundle: TinyBundle) -> None:
    catalog = Deployment.open(tiny_bundle(), Loader(CPU, Telemetry())).current.catalog
    assert "by_popularity_I" in vars(catalog)  # the first request does not pay for the sort


class RecordingRetriever:
    name = "recording"

    def __init__(self, retriever: ExactRetriever) -> None:
        self._retriever = retriever
        self.batch_sizes: list[int] = []

    def top_k(
        self, query_BH: Tensor, wanted: Sequence[Wanted], histories: HistoryBatch | None = None
    ) -> list[TopK]:
        self.batch_sizes.append(len(wanted))
        return self._retriever.top_k(query_BH, wanted, histories)


@pytest.mark.parametrize("num_items", [4, 30])
def test_a_model_is_warm_for_small_and_large_batches_of_both_kinds(
    tiny_bundle: TinyBundle, num_items: int
) -> None:
    loaded = checkpoint.load(tiny_bundle(num_items=num_items), CPU)
    retriever = RecordingRetriever(
        ExactRetriever(loaded.model.item_vectors_IH, loaded.model.item_bias_I)
    )
    deployment._warm_up(
        Served(loaded, Engine(ModelRanker(loaded.model, retriever)), "tiny", retriever.name, 1.0)
    )
    assert retriever.batch_sizes == [1, 1, 2, 2, 8, 8, 32, 32]
