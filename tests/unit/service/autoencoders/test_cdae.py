import pytest
import torch
from torch.nn import functional

from service.autoencoders.cdae import CDAE, CDAEConfig
from service.histories import UNKNOWN_USER, History, HistoryBatch

NUM_ITEMS = 20
NUM_USERS = 6


@pytest.fixture
def model() -> CDAE:
    torch.manual_seed(1)
    built = CDAE(CDAEConfig(latent_dim=4), NUM_ITEMS, NUM_USERS)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter)
    return built


def of_user(user_index: int) -> HistoryBatch:
    return HistoryBatch.from_rows([History.of([2, 9, 11])], [user_index])


def test_a_known_user_adds_a_row_of_their_own(model: CDAE) -> None:
    x_I = torch.zeros(NUM_ITEMS)
    x_I[[2, 9, 11]] = 1
    hidden = functional.normalize(x_I, dim=0) @ model.input.weight_IH + model.input.bias_H
    expected = torch.tanh(hidden + model.user_rows_UD[3])
    torch.testing.assert_close(model.encode(of_user(3))[0], expected)


def test_an_unknown_user_gets_the_row_of_everybody(model: CDAE) -> None:
    known, unknown = model.encode(of_user(3)), model.encode(of_user(UNKNOWN_USER))
    assert not torch.allclose(known, unknown)
    with torch.no_grad():
        model.user_rows_UD[3] = model.unknown_row_D
    torch.testing.assert_close(model.encode(of_user(3)), unknown)


def test_training_shows_the_unknown_row_in_place_of_a_share_of_the_users(model: CDAE) -> None:
    many = HistoryBatch.from_rows([History.of([1])] * 4000, [2] * 4000)
    bare = CDAE(CDAEConfig(latent_dim=4, corruption=0, user_dropout=0.25), NUM_ITEMS, NUM_USERS)
    bare.load_state_dict(model.state_dict())
    query_BH = bare.training_pass(many, torch.Generator().manual_seed(0)).query_BH
    own = bare.encode(HistoryBatch.from_rows([History.of([1])], [2]))[0]
    shown = torch.isclose(query_BH, own).all(dim=1).float().mean()
    assert shown.item() == pytest.approx(0.75, abs=0.03)


def test_corruption_touches_observed_entries_only(model: CDAE) -> None:
    """An item that is not in the history gets no gradient through the input layer."""
    model.training_pass(of_user(0), torch.Generator().manual_seed(0)).query_BH.sum().backward()  # type: ignore[no-untyped-call]  # torch ships backward untyped
    assert model.input.weight_IH.grad is not None
    touched = set(model.input.weight_IH.grad.abs().sum(dim=1).nonzero().flatten().tolist())
    assert touched <= {2, 9, 11}


def test_a_model_without_users_serves_everybody_alike() -> None:
    nobody = CDAE(CDAEConfig(latent_dim=4), NUM_ITEMS, num_users=0)
    assert nobody.encode(of_user(UNKNOWN_USER)).shape == (1, 4)
