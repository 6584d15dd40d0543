import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from service.canaries import replay
from service.checkpoint import load
from service.errors import SettingsError
from service.ranker import ModelRanker
from service.retrieval.certificate import not_counted
from service.retrieval_mode import RetrievalMode, find_retrieval

TinyBundle = Callable[..., Path]


@pytest.mark.parametrize("architecture", ["multvae", "cdae", "elsa", "hybrid", "autorec-user"])
@pytest.mark.parametrize("mode", ["auto", "exact", "int8"])
def test_every_way_repeats_the_trainers_answers(
    tiny_bundle: TinyBundle, architecture: str, mode: RetrievalMode
) -> None:
    checkpoint = load(tiny_bundle(architecture))
    found = find_retrieval(checkpoint, mode, threads=1, count=not_counted)
    replay(ModelRanker(checkpoint.model, found.retriever), checkpoint.canaries)
    assert found.recall == 1
    assert mode in {"auto", found.retriever.name}


@pytest.mark.parametrize("mode", ["auto", "int8"])
def test_a_model_without_an_item_matrix_has_one_way(
    tiny_bundle: TinyBundle, mode: RetrievalMode
) -> None:
    found = find_retrieval(load(tiny_bundle("edlae")), mode, threads=1, count=not_counted)
    assert (found.retriever.name, found.recall) == ("item-item", 1)


def test_integers_are_for_the_cpu(tiny_bundle: TinyBundle) -> None:
    checkpoint = load(tiny_bundle("multvae"))
    checkpoint.model.to(torch.device("meta"))
    with pytest.raises(SettingsError, match="RETRIEVAL=int8 is for the CPU"):
        find_retrieval(checkpoint, "int8", threads=1, count=not_counted)


def test_a_matrix_too_large_for_one_graph_is_searched_exactly_on_auto(
    tiny_bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = load(tiny_bundle("multvae"))
    monkeypatch.setattr("service.retrieval_mode.MAX_GRAPH_BYTES", 100)
    with caplog.at_level(logging.INFO):
        found = find_retrieval(checkpoint, "auto", threads=1, count=not_counted)
    assert (found.retriever.name, found.recall) == ("exact", 1)
    (message,) = caplog.messages
    assert "int8" in message
    assert "30 items" in message
    with pytest.raises(SettingsError, match=r"RETRIEVAL=int8 .* 30 items"):
        find_retrieval(checkpoint, "int8", threads=1, count=not_counted)


def test_an_index_tells_what_it_finds(tiny_bundle: TinyBundle) -> None:
    pytest.importorskip("faiss", reason="pip install 'foldin[ann]'")
    checkpoint = load(tiny_bundle("multvae", num_items=3_000))
    found = find_retrieval(checkpoint, "ann", threads=1, count=not_counted)
    assert found.retriever.name == "ann"
    assert 0.5 < found.recall <= 1


def test_a_hybrid_has_no_index(tiny_bundle: TinyBundle) -> None:
    with pytest.raises(SettingsError, match="a hybrid takes auto"):
        find_retrieval(load(tiny_bundle("hybrid")), "ann", threads=1, count=not_counted)
