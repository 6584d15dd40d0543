"""Tensors go to their device and come back as they were; on CUDA the answers are the CPU's."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from service.checkpoint import load
from service.device import to_device, to_host
from service.histories import History
from service.inference.engine import Engine, Job
from service.ranker import ModelRanker
from service.retrieval.base import Wanted
from service.retrieval.exact import ExactRetriever

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: install torch with CUDA on one"
)
NUM_ITEMS = 3_000


def test_on_the_cpu_nothing_is_copied() -> None:
    tensor = torch.arange(3)
    assert to_device(tensor, CPU) is tensor
    assert to_host(tensor, tensor)[1] is tensor


@needs_cuda
def test_tensors_come_back_from_cuda_as_they_went() -> None:
    sent = [torch.arange(100_000), torch.randn(300, 400)]
    there = [to_device(tensor, torch.device("cuda")) for tensor in sent]
    back = to_host(*there)
    assert all(tensor.is_cuda for tensor in there)
    assert all(torch.equal(*pair) for pair in zip(sent, back, strict=True))
    assert to_device(there[0], torch.device("cuda")) is there[0]


def jobs() -> list[Job]:
    """Posted and kept rows with lists of different lengths, one of them longer than can be."""
    chance = np.random.default_rng(0)
    rows: list[Job] = []
    for k in (1, 20, 100, NUM_ITEMS, 5):
        seen = np.sort(chance.choice(NUM_ITEMS, 50, replace=False))
        rows.append(Job(Wanted(k, seen), history=History.of(seen)))
    latent_D = chance.normal(size=4).astype(np.float32)
    rows.append(Job(Wanted(20, np.array([7, 3], dtype=np.int64)), latent_D=latent_D))
    return rows


@needs_cuda
@pytest.mark.parametrize("architecture", ["multvae", "recvae", "betavae"])
def test_cuda_answers_a_mixed_batch_as_the_cpu_does(
    tiny_bundle: Callable[..., Path], architecture: str
) -> None:
    path = tiny_bundle(architecture, num_items=NUM_ITEMS)
    answers = []
    for device in (CPU, torch.device("cuda")):
        ranker = ModelRanker(load(path, device).model)
        assert isinstance(ranker.retriever, ExactRetriever)
        assert ranker.model.item_vectors_IH.device.type == device.type
        answers.append(Engine(ranker).run(jobs()))
    for expected, found in zip(*answers, strict=True):
        np.testing.assert_array_equal(found.top.item_index_K[:20], expected.top.item_index_K[:20])
        np.testing.assert_allclose(found.top.score_K, expected.top.score_K, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.latent_D, expected.latent_D, rtol=1e-4, atol=1e-5)
