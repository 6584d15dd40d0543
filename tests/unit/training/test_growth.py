"""Models with more items than they were trained on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from service import checkpoint
from service.autoencoders import ARCHITECTURES
from service.autoencoders.base import Autoencoder
from service.autoencoders.item_item import ItemItem
from service.histories import UNKNOWN_USER, History, HistoryBatch
from training.errors import BadInputError
from training.growth import Growth, grown, score_spread
from training.ridge import Ridge

NUM_ITEMS = 24
# Three kinds of items; the new ones are one of each kind, and one of none.
KINDS = np.eye(3)[np.arange(NUM_ITEMS) % 3]
NEW = np.vstack([np.eye(3), np.zeros((1, 3))])


def growth() -> Growth:
    return Growth(Ridge(csr_array(KINDS), np.ones(NUM_ITEMS)), csr_array(NEW))


@pytest.fixture
def model(
    request: pytest.FixtureRequest, write_bundle: Callable[..., Path], tmp_path: Path
) -> Autoencoder:
    name: str = request.param
    users = ["u0", "u1"] if name in {"cdae", "hybrid", "autorec-item"} else []
    write_bundle(tmp_path, NUM_ITEMS, name, user_ids=users)
    return checkpoint.load(tmp_path).model


def scores(model: Autoencoder, rows: list[list[int]]) -> torch.Tensor:
    histories = HistoryBatch.from_rows(
        [History.of(row) for row in rows], [UNKNOWN_USER] * len(rows)
    )
    query_BH = model.queries(model.encode(histories))
    score_BI = (query_BH @ model.item_vectors_IH.T + model.item_bias_I).double()
    return score_BI if model.linear is None else score_BI + model.linear(histories)


@pytest.mark.parametrize("model", sorted(ARCHITECTURES), indirect=True)
def test_old_items_keep_their_scores_and_new_ones_have_some(
    model: Autoencoder, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["model"]
    larger = grown(model, name, growth())
    assert larger.num_items == NUM_ITEMS + 4
    assert larger.num_users == model.num_users
    rows = [[], [0], [1, 2, 7], [5, 11, 23]]
    before, after = scores(model, rows), scores(larger, rows)
    torch.testing.assert_close(after[:, :NUM_ITEMS], before)
    assert bool(after.isfinite().all())
    with_new = scores(larger, [[NUM_ITEMS], [NUM_ITEMS, 3]])
    assert bool(with_new.isfinite().all())


@pytest.mark.parametrize("model", sorted(ARCHITECTURES), indirect=True)
def test_a_lift_raises_the_new_items_by_as_much(
    model: Autoencoder, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["model"]
    rows = [[0], [1, 2, 7]]
    plain, lifted = grown(model, name, growth()), grown(model, name, growth(), lift=2.5)
    raised = scores(lifted, rows) - scores(plain, rows)
    expected = torch.zeros_like(raised)
    expected[:, NUM_ITEMS:] = 2.5
    torch.testing.assert_close(raised, expected, atol=1e-5, rtol=0)


def test_a_new_item_has_the_mean_row_of_its_kind_as_far_as_features_explain_it() -> None:
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(3, 5, generator=generator)
    noise = 0.01 * torch.randn(NUM_ITEMS, 5, generator=generator)
    table = centre[torch.arange(NUM_ITEMS) % 3] + noise
    made = growth()
    longer = made.of_table("table", table)
    assert torch.equal(longer[:NUM_ITEMS], table)
    torch.testing.assert_close(longer[NUM_ITEMS:-1], centre, atol=0.03, rtol=0)
    torch.testing.assert_close(longer[-1], table.mean(0))
    assert made.explained["table"] > 0.99


def test_new_items_get_and_cast_the_votes_of_their_kind() -> None:
    kind = np.arange(NUM_ITEMS) % 3
    votes = np.where(kind[:, None] == kind, 1.0, -0.01).astype(np.float32)
    np.fill_diagonal(votes, 0)
    sparse = csr_array(votes)
    matrix = ItemItem.of(
        torch.from_numpy(sparse.indptr),
        torch.from_numpy(sparse.indices),
        torch.from_numpy(sparse.data),
    )
    larger = growth().of_votes("linear", matrix)
    larger.check()
    whole = csr_array(
        (larger.weight_M.numpy(), larger.item_index_M.numpy(), larger.offset_I1.numpy())
    ).toarray()
    assert (whole[:NUM_ITEMS, :NUM_ITEMS] == votes).all()
    for new in range(3):
        of_kind = np.flatnonzero(kind == new)
        others = np.flatnonzero(kind != new)
        got, cast = whole[:NUM_ITEMS, NUM_ITEMS + new], whole[NUM_ITEMS + new]
        assert got[of_kind].min() > 0.5 > np.abs(got[others]).max()
        assert cast[of_kind].min() > 0.5 > np.abs(cast[others]).max()
        assert np.count_nonzero(got) >= 23  # as many as an old item has
        assert cast[NUM_ITEMS + new] == 0


@pytest.mark.parametrize("architecture", ["cdae", "hybrid"])
def test_the_spread_is_in_the_units_of_the_scores(
    write_bundle: Callable[..., Path], tmp_path: Path, architecture: str
) -> None:
    write_bundle(tmp_path, NUM_ITEMS, architecture)
    model = checkpoint.load(tmp_path).model
    rows = [[1], [2, 5, 7]]
    histories = HistoryBatch.from_rows([History.of(row) for row in rows])
    before = score_spread(model, histories)
    assert before == pytest.approx(float(scores(model, rows).std(dim=1).mean()))
    model.item_vectors_IH.mul_(3)
    model.item_bias_I.mul_(3)
    if model.linear is not None:
        model.linear.weight_M.mul_(3)
    assert score_spread(model, histories) == pytest.approx(3 * before, rel=1e-5)


def test_an_architecture_that_keeps_items_elsewhere_is_refused(
    write_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path, NUM_ITEMS, "cdae")
    model = checkpoint.load(tmp_path).model
    monkeypatch.setattr("training.growth._is_item_table", lambda *_: False)
    with pytest.raises(BadInputError, match="cdae cannot take new items"):
        grown(model, "cdae", growth())
