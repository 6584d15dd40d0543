"""A walk along one dimension, through the engine that answers requests."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.autoencoders.traversal import steered, traverse
from service.autoencoders.variational import VariationalAutoencoder
from service.checkpoint import build_model
from service.histories import History
from service.inference.engine import Engine, Job, Outcome
from service.ranker import ModelRanker
from service.retrieval.base import Wanted

NUM_ITEMS = 60
HISTORY = [4, 9, 33]
SHAPES = {
    "multvae": {"latent_dim": 5, "hidden_dims": (12,)},
    "betavae": {"latent_dim": 5, "hidden_dims": (12,)},
    "recvae": {"latent_dim": 5, "hidden_dim": 12},
}


def built(name: str) -> VariationalAutoencoder:
    torch.manual_seed(4)
    model = build_model(name, SHAPES[name], NUM_ITEMS, 0)
    assert isinstance(model, VariationalAutoencoder)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.freeze()


def lists(
    model: VariationalAutoencoder, dimension: int, offsets: list[float]
) -> tuple[Outcome, list[Outcome]]:
    """Give the plain answer, and one an offset."""
    engine = Engine(ModelRanker(model))
    wanted = Wanted(10, np.array(HISTORY))
    (plain,) = engine.run([Job(wanted, history=History.of(HISTORY))])
    rows_BD = traverse(plain.latent_D, dimension, offsets)
    return plain, engine.run([Job(wanted, latent_D=row_D) for row_D in rows_BD])


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_an_offset_of_zero_gives_the_plain_list_bit_for_bit(name: str) -> None:
    plain, (_, middle, _) = lists(built(name), 2, [-2.0, 0.0, 2.0])
    assert middle.latent_D.tobytes() == plain.latent_D.tobytes()
    assert middle.top.item_index_K.tobytes() == plain.top.item_index_K.tobytes()
    assert middle.top.score_K.tobytes() == plain.top.score_K.tobytes()


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_walk_changes_the_list_and_never_brings_hidden_items_back(name: str) -> None:
    plain, moved = lists(built(name), 1, [-9.0, 9.0])
    for outcome in moved:
        assert outcome.top.item_index_K.tolist() != plain.top.item_index_K.tolist()
        assert not set(HISTORY) & set(outcome.top.item_index_K.tolist())


@pytest.mark.parametrize("dimension", range(5))
def test_lists_of_a_linear_decoder_lean_ever_more_to_the_dimension(dimension: int) -> None:
    """The best sum of K scores is convex in the offset, and its slope the sum of the weights."""
    model = built("recvae")
    _, moved = lists(model, dimension, np.linspace(-6, 6, 25).tolist())
    weight_I = model.item_vectors_IH[:, dimension].double().numpy()
    lean = [float(weight_I[outcome.top.item_index_K].sum()) for outcome in moved]
    assert all(before <= after + 1e-9 for before, after in pairwise(lean))
    assert lean[0] < lean[-1] - 1
    assert len({tuple(outcome.top.item_index_K) for outcome in moved}) > 3


@given(
    arrays(np.float32, 6, elements=st.floats(-50, 50, width=32)),
    st.integers(0, 5),
    st.lists(st.floats(-50, 50, width=32), max_size=8),
)
def test_one_dimension_moves_and_the_others_stay(
    latent_D: NDArray[np.float32], dimension: int, offsets: list[float]
) -> None:
    before = latent_D.copy()
    rows_BD = traverse(latent_D, dimension, offsets)
    assert rows_BD.shape == (len(offsets), 6)
    assert rows_BD.dtype == np.float32
    expected_B = latent_D[dimension] + np.array(offsets, dtype=np.float32)
    np.testing.assert_array_equal(rows_BD[:, dimension], expected_B)
    others = np.arange(6) != dimension
    np.testing.assert_array_equal(rows_BD[:, others], np.tile(latent_D[others], (len(offsets), 1)))
    np.testing.assert_array_equal(latent_D, before)


@pytest.mark.parametrize("dimension", [-1, 5])
def test_a_dimension_that_is_not_there_is_refused(dimension: int) -> None:
    with pytest.raises(IndexError, match=f"dimension {dimension} of a latent with 5"):
        traverse(np.zeros(5, dtype=np.float32), dimension, [0.0])


@given(
    arrays(np.float32, (2, 6), elements=st.floats(-50, 50, width=32)),
    st.dictionaries(st.integers(0, 5), st.floats(-10, 10)),
)
def test_steering_is_a_walk_along_each_dimension_in_turn(
    latents_BD: NDArray[np.float32], moves: dict[int, float]
) -> None:
    given_BD = torch.from_numpy(latents_BD.copy())
    moved_BD = steered(given_BD, tuple(moves.items()))
    expected_BD = latents_BD.copy()
    for dimension, offset in moves.items():
        for row, latent_D in enumerate(expected_BD):
            (expected_BD[row],) = traverse(latent_D, dimension, [offset])
    np.testing.assert_array_equal(moved_BD.numpy(), expected_BD)
    np.testing.assert_array_equal(given_BD.numpy(), latents_BD)
    np.testing.assert_array_equal(steered(given_BD[1], tuple(moves.items())), moved_BD[1])


def test_steering_along_a_dimension_that_is_not_there_is_refused() -> None:
    with pytest.raises(IndexError):
        steered(torch.zeros(2, 5), ((5, 1.0),))
