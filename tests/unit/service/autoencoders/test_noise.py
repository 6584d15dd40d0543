"""Noise of a part is the part of the noise, in every architecture that gradients train."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.autoencoders.base import TrainableAutoencoder
from service.autoencoders.noise import Part, SharedGenerator, entry_noise, row_noise
from service.checkpoint import build_model
from service.histories import History, HistoryBatch

NUM_ITEMS, NUM_USERS = 30, 8
SCALE = {"lowest": 1.0, "highest": 5.0, "mean": 3.0}
SHAPES: dict[str, dict[str, Any]] = {
    "multvae": {"latent_dim": 4, "hidden_dims": [8]},
    "betavae": {"latent_dim": 4, "hidden_dims": [8]},
    "recvae": {"latent_dim": 4, "hidden_dim": 8},
    "cdae": {"latent_dim": 6},
    "elsa": {"latent_dim": 6},
    "autoencoder": {"latent_dim": 4, "hidden_dims": [8]},
    "dae": {"latent_dim": 4, "hidden_dims": [8]},
    "dae gaussian": {"latent_dim": 4, "noise": "gaussian"},
    "dae salt and pepper": {"latent_dim": 4, "noise": "salt_and_pepper"},
    "multdae": {"latent_dim": 6},
    "autorec-user": {"latent_dim": 6, "dropout": 0.5, "scale": SCALE},
}


def histories(generator: np.random.Generator) -> list[History]:
    return [
        History.of(generator.choice(NUM_ITEMS, length, replace=False))
        for length in generator.integers(0, 12, NUM_USERS)
    ]


def model_of(name: str) -> TrainableAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = build_model(name.partition(" ")[0], SHAPES[name], NUM_ITEMS, NUM_USERS)
    assert isinstance(model, TrainableAutoencoder)
    model.start_phase(model.phases()[0].name)
    return model


@pytest.mark.parametrize("name", sorted(SHAPES))
@settings(max_examples=25)
@given(cut=st.integers(0, NUM_USERS - 1), seed=st.integers(0, 2**31))
def test_a_part_of_a_batch_is_spoilt_as_it_is_in_the_whole_batch(
    name: str, cut: int, seed: int
) -> None:
    model, rows = model_of(name), histories(np.random.default_rng(seed))
    plain = torch.Generator().manual_seed(seed)
    whole = model.training_pass(HistoryBatch.from_rows(rows, range(NUM_USERS)), plain)
    lengths = [len(row) for row in rows]
    for part in (slice(0, cut), slice(cut, NUM_USERS)):
        if part.start == part.stop:
            continue
        shared = SharedGenerator()
        shared.manual_seed(seed)
        before, stop = sum(lengths[: part.start]), sum(lengths[: part.stop])
        shared.narrow(Part(part.start, part.stop, NUM_USERS), Part(before, stop, sum(lengths)))
        batch = HistoryBatch.from_rows(rows[part], range(NUM_USERS)[part])
        passed = model.training_pass(batch, shared)
        torch.testing.assert_close(passed.query_BH, whole.query_BH[part])
        torch.testing.assert_close(passed.regularizer_B, whole.regularizer_B[part])
        assert torch.equal(shared.get_state(), plain.get_state())  # in step for the next batch


def test_a_generator_that_knows_of_no_part_draws_what_a_plain_one_draws() -> None:
    shared = SharedGenerator()
    shared.manual_seed(1)
    plain = torch.Generator().manual_seed(1)
    assert torch.equal(
        row_noise(torch.randn, (5, 3), shared), row_noise(torch.randn, (5, 3), plain)
    )
    assert torch.equal(
        entry_noise(partial(torch.randint, 9), 7, shared),
        entry_noise(partial(torch.randint, 9), 7, plain),
    )
