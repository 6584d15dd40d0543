"""What every architecture must do, whatever it is: one suite over ``ARCHITECTURES``."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from service.autoencoders import ARCHITECTURES
from service.autoencoders.base import Autoencoder, TrainableAutoencoder
from service.autoencoders.item_item import ItemItem
from service.checkpoint import build_model
from service.dense_layers import OnnxLayers
from service.histories import MAX_WEIGHT, MIN_WEIGHT, UNKNOWN_USER, History, HistoryBatch
from training.losses import LOSSES

NUM_ITEMS = 30
NUM_USERS = 12
SMALL = {
    "multvae": {"latent_dim": 6, "hidden_dims": (16, 8)},
    "betavae": {"latent_dim": 6, "hidden_dims": (16, 8)},
    "recvae": {"latent_dim": 6, "hidden_dim": 16, "num_layers": 3},
    "cdae": {"latent_dim": 8},
    "ease": {"num_weights": 40},
    "edlae": {"num_weights": 40},
    "elsa": {"latent_dim": 8},
    "hybrid": {
        "parents": [
            {"architecture": "cdae", "config": {"latent_dim": 8}},
            {"architecture": "multvae", "config": {"latent_dim": 6, "hidden_dims": (16, 8)}},
        ],
        "num_weights": 40,
    },
    "autoencoder": {"latent_dim": 6, "hidden_dims": (16, 8)},
    "dae": {"latent_dim": 6, "hidden_dims": (16, 8)},
    "multdae": {"latent_dim": 8},
    "autorec-user": {"latent_dim": 8},
    "autorec-item": {"latent_dim": 8},
}
# How far apart liked and other items must come to lie: logits grow without end, while the best
# score under the squared loss is the share of users that have the item, at most 1.
MARGINS = {"squared": 0.2}

TRAINABLE = sorted(
    name for name, known in ARCHITECTURES.items() if issubclass(known.module, TrainableAutoencoder)
)


def _fill(matrix: ItemItem) -> None:
    """Give a sparse matrix as many entries as it has room for, some rows more than others."""
    generator = np.random.default_rng(0)
    row_M = np.sort(generator.integers(NUM_ITEMS, size=len(matrix.weight_M)))
    matrix.offset_I1 = torch.from_numpy(np.searchsorted(row_M, np.arange(NUM_ITEMS + 1)))
    matrix.item_index_M = torch.from_numpy(generator.integers(NUM_ITEMS, size=len(row_M))).int()
    matrix.weight_M = torch.from_numpy(generator.normal(size=len(row_M))).float()


def built(name: str) -> Autoencoder:
    torch.manual_seed(7)
    model = build_model(name, SMALL[name], NUM_ITEMS, NUM_USERS)
    for parameter in model.parameters():  # biases and user rows start at zero and would hide much
        torch.nn.init.normal_(parameter, std=0.3)
    if model.linear is not None:
        _fill(model.linear)
    return model.eval()


@pytest.fixture(params=sorted(ARCHITECTURES))
def model(request: pytest.FixtureRequest) -> Autoencoder:
    return built(request.param)


@pytest.fixture(params=TRAINABLE)
def trainable(request: pytest.FixtureRequest) -> TrainableAutoencoder:
    model = built(request.param)
    assert isinstance(model, TrainableAutoencoder)
    return model


def rows(*histories: list[int], users: list[int] | None = None) -> HistoryBatch:
    return HistoryBatch.from_rows([History.of(history) for history in histories], users)


def scores(model: Autoencoder, batch: HistoryBatch) -> torch.Tensor:
    query_BH = model.queries(model.encode(batch))
    score_BI = query_BH @ model.item_vectors_IH.T + model.item_bias_I
    return score_BI if model.linear is None else score_BI + model.linear(batch).float()


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("dae", {"latent_dim": 4, "hidden_dims": []}),
        ("autoencoder", {"latent_dim": 4, "hidden_dims": [], "activation": "selu"}),
        ("autoencoder", {"latent_dim": 4, "hidden_dims": [], "activation": "sigmoid"}),
    ],
)
def test_a_network_without_hidden_layers_is_compiled_too(
    name: str, config: dict[str, object]
) -> None:
    model = build_model(name, config, NUM_ITEMS, NUM_USERS).freeze()
    layers = OnnxLayers(model, threads=1)
    gathered_BF = torch.randn(5, model.gathered_dim)
    found_BD = layers.latents(gathered_BF)
    torch.testing.assert_close(found_BD, model.latents(gathered_BF), rtol=1e-6, atol=1e-7)


def test_compiled_dense_layers_give_what_the_model_gives(model: Autoencoder) -> None:
    model.freeze()
    layers = OnnxLayers(model, threads=1)
    gathered_BF = torch.randn(5, model.gathered_dim)
    latents_BD = model.latents(gathered_BF)
    torch.testing.assert_close(layers.latents(gathered_BF), latents_BD, rtol=1e-6, atol=1e-7)
    found_BH = layers.queries(latents_BD)
    torch.testing.assert_close(found_BH, model.queries(latents_BD), rtol=1e-6, atol=1e-7)


def test_shapes_are_those_of_the_contract(model: Autoencoder) -> None:
    latents_BD = model.encode(rows([1, 2], [3], []))
    assert latents_BD.shape == (3, model.latent_dim)
    assert model.queries(latents_BD).shape == (3, model.item_vectors_IH.shape[1])
    assert model.item_vectors_IH.shape[0] == len(model.item_bias_I) == model.num_items == NUM_ITEMS
    assert model.num_users in {0, NUM_USERS}


def test_scores_are_finite_for_no_one_and_all_items(model: Autoencoder) -> None:
    batch = rows([], [4], list(range(NUM_ITEMS)))
    assert scores(model, batch).isfinite().all()


def test_a_row_alone_scores_as_in_a_batch(model: Autoencoder) -> None:
    histories = [[1, 5, 9], [], [2], list(range(20))]
    together = scores(model, rows(*histories, users=[0, 3, UNKNOWN_USER, 1]))
    for row, (history, user) in enumerate(zip(histories, [0, 3, UNKNOWN_USER, 1], strict=True)):
        alone = scores(model, rows(history, users=[user]))
        torch.testing.assert_close(alone[0], together[row])


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_frozen_model_answers_a_row_alone_bit_for_bit_as_in_a_batch(name: str) -> None:
    """At the shipped widths, where a float32 product of one row rounds other than that of many."""
    torch.manual_seed(0)
    frozen = build_model(name, {}, 3000, 10).freeze()
    generator = np.random.default_rng(0)
    histories = [History.of(generator.integers(3000, size=size)) for size in range(0, 192, 3)]
    together = frozen.queries(frozen.encode(HistoryBatch.from_rows(histories)))
    for row, history in enumerate(histories):
        alone = frozen.queries(frozen.encode(HistoryBatch.from_rows([history])))
        assert torch.equal(together[row : row + 1], alone)


@pytest.mark.parametrize("weight", [MIN_WEIGHT, MAX_WEIGHT])
def test_a_single_entry_says_the_same_at_any_weight(model: Autoencoder, weight: float) -> None:
    if model.reads_ratings:
        pytest.skip("the weight of an entry is its rating")
    if model.linear is not None:
        pytest.skip("a linear part takes weights as they are posted")
    weighted = HistoryBatch.from_rows([History.of([7], [weight])])
    torch.testing.assert_close(scores(model, weighted), scores(model, rows([7])))


def test_the_order_of_a_history_changes_no_bit(model: Autoencoder) -> None:
    first, second = rows([3, 17, 8, 25]), rows([25, 3, 8, 17, 3, 25])
    assert torch.equal(scores(model, first), scores(model, second))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the model never changes
@given(data=st.data())
def test_no_order_of_weighted_entries_changes_a_bit(
    model: Autoencoder, data: st.DataObject
) -> None:
    entries = data.draw(
        st.dictionaries(st.integers(0, NUM_ITEMS - 1), st.floats(0.1, 10), min_size=1)
    )
    shuffled = data.draw(st.permutations(sorted(entries)))
    first, second = (
        HistoryBatch.from_rows([History.of(order, [entries[item] for item in order])])
        for order in (sorted(entries), shuffled)
    )
    assert torch.equal(scores(model, first), scores(model, second))


def test_evaluation_is_deterministic(model: Autoencoder) -> None:
    batch = rows([1, 2, 3], [9, 4])
    assert torch.equal(scores(model, batch), scores(model, batch))


def test_evaluation_takes_no_part_in_chance(model: Autoencoder) -> None:
    batch = rows([1, 2, 3], [9, 4])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = scores(model, batch)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(scores(model, batch), first)


def test_heavier_entries_count_more(model: Autoencoder) -> None:
    plain = HistoryBatch.from_rows([History.of([2, 9])])
    heavy = HistoryBatch.from_rows([History.of([2, 9], [5.0, 1.0])])
    assert not torch.allclose(scores(model, plain), scores(model, heavy))


def test_the_training_pass_repeats_with_the_same_seed_and_differs_with_another(
    trainable: TrainableAutoencoder,
) -> None:
    batch = rows(list(range(12)), list(range(5, 20)), users=[2, 5])

    def query(seed: int) -> torch.Tensor:
        return trainable.training_pass(batch, torch.Generator().manual_seed(seed)).query_BH

    assert torch.equal(query(1), query(1))
    assert not torch.equal(query(1), query(2))


def test_one_step_changes_every_parameter(trainable: TrainableAutoencoder) -> None:
    batch = rows(*[list(range(start, start + 15)) for start in range(12)], users=list(range(12)))
    before = {name: value.clone() for name, value in trainable.named_parameters()}
    optimizer = torch.optim.Adam(trainable.parameters(), lr=0.01)
    noisy = trainable.training_pass(batch, torch.Generator().manual_seed(3))
    loss_B = noisy.loss_B
    if loss_B is None:
        loss_B = LOSSES["multinomial"](noisy.query_BH, trainable, batch)
    loss = loss_B + noisy.regularizer_B
    torch.autograd.backward(loss.mean())
    optimizer.step()
    unchanged = [
        name for name, value in trainable.named_parameters() if torch.equal(value, before[name])
    ]
    assert not unchanged


def test_weights_survive_the_file_bit_for_bit(model: Autoencoder) -> None:
    content = save({name: value.clone() for name, value in model.state_dict().items()})
    name = next(name for name, known in ARCHITECTURES.items() if isinstance(model, known.module))
    again = build_model(name, SMALL[name], NUM_ITEMS, NUM_USERS).eval()
    again.load_state_dict(load(content))
    batch = rows([1, 2, 3], [7], users=[4, UNKNOWN_USER])
    assert torch.equal(scores(model, batch), scores(again, batch))


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_it_learns_a_checkerboard(trainable: TrainableAutoencoder, loss: str) -> None:
    """Even users like even items, odd users odd ones: the right answer is known by eye."""
    if trainable.reads_ratings:
        pytest.skip("learns from ratings, and no loss for what is not there")
    generator = np.random.default_rng(0)
    histories = [
        History.of(2 * generator.choice(NUM_ITEMS // 2, 8, replace=False) + user % 2)
        for user in range(60)
    ]
    batch = HistoryBatch.from_rows(histories, [user % NUM_USERS for user in range(60)])
    optimizer = torch.optim.Adam(trainable.parameters(), lr=0.02)
    noise = torch.Generator().manual_seed(0)
    for _ in range(60):
        optimizer.zero_grad()
        noisy = trainable.training_pass(batch, noise)
        loss_B = noisy.loss_B
        if loss_B is None:
            loss_B = LOSSES[loss](noisy.query_BH, trainable, batch)
        torch.autograd.backward(loss_B.mean())
        optimizer.step()
    found_BI = scores(trainable, rows([0, 2, 6], [1, 5, 9]))
    even, odd = found_BI[:, 0::2].mean(dim=1), found_BI[:, 1::2].mean(dim=1)
    margin = MARGINS.get(loss, 1.0)
    assert even[0] > odd[0] + margin
    assert odd[1] > even[1] + margin


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_the_default_config_builds(name: str) -> None:
    factory: Callable[[], object] = ARCHITECTURES[name].config
    with torch.device("meta"):
        assert build_model(name, factory(), 1000, 50).num_items == 1000
