"""Adam by rows gives the weights of dense Adam, but for epsilon; it touches few rows."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from training import optimizers
from training.optimizers import RowAdam

NUM_ROWS = 12
# One step: the rows that it touches, and its step size.
STEPS = st.lists(
    st.tuples(st.sets(st.integers(0, NUM_ROWS - 1)), st.floats(1e-3, 1e-1)), min_size=1, max_size=30
)


def start(seed: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Give a table, and a parameter that is none."""
    chance = torch.Generator().manual_seed(seed)
    return (
        nn.Parameter(torch.randn(NUM_ROWS, 3, generator=chance, dtype=torch.float64)),
        nn.Parameter(torch.randn(4, generator=chance, dtype=torch.float64)),
    )


def loss(rows_RH: Tensor, other_H: Tensor, chance: torch.Generator) -> Tensor:
    aim_RH = torch.randn(rows_RH.shape, generator=chance, dtype=torch.float64)
    return (rows_RH - aim_RH).square().sum() + (other_H - aim_RH.sum()).square().sum()


def dense(steps: list[tuple[set[int], float]], seed: int) -> tuple[list[Tensor], dict[str, object]]:
    table_IH, other_H = start(seed)
    adam = torch.optim.Adam([table_IH, other_H])
    chance = torch.Generator().manual_seed(seed)
    for rows, lr in steps:
        adam.param_groups[0]["lr"] = lr
        adam.zero_grad()
        torch.autograd.backward(loss(table_IH[sorted(rows)], other_H, chance))
        adam.step()
    return [table_IH.detach(), other_H.detach()], adam.state_dict()


def lazy_steps(
    adam: RowAdam,
    parameters: tuple[nn.Parameter, nn.Parameter],
    steps: list[tuple[set[int], float]],
    chance: torch.Generator,
) -> None:
    table_IH, other_H = parameters
    for rows, lr in steps:
        adam.param_groups[0]["lr"] = lr
        adam.zero_grad()
        leaf_RH = adam.gather(table_IH, torch.tensor(sorted(rows), dtype=torch.int64))
        torch.autograd.backward(loss(leaf_RH, other_H, chance))
        adam.step()


def lazy(steps: list[tuple[set[int], float]], seed: int) -> tuple[list[Tensor], dict[str, object]]:
    parameters = start(seed)
    adam = RowAdam(parameters, parameters[:1], lr=1e-3)
    lazy_steps(adam, parameters, steps, torch.Generator().manual_seed(seed))
    adam.catch_up()
    return [each.detach() for each in parameters], adam.state_dict()


@settings(max_examples=25, deadline=None)
@given(STEPS, st.integers(0, 99))
def test_any_steps_give_the_weights_and_the_state_of_dense_adam(
    steps: list[tuple[set[int], float]], seed: int
) -> None:
    expected, expected_state = dense(steps, seed)
    found, found_state = lazy(steps, seed)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found_state["state"], expected_state["state"])


def test_a_row_that_waits_for_longer_than_it_moves_comes_to_rest_where_dense_adam_leaves_it() -> (
    None
):
    waiting = [({0, 1}, 0.05), *[({1}, 0.05)] * 400, ({0}, 0.05)]
    torch.testing.assert_close(lazy(waiting, 0)[0], dense(waiting, 0)[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "of_a_step"), [(1, 1e-5), (1e-2, 1e-3), (1e-4, 0.1), (1e-6, 0.5), (1e-8, 0.5)]
)
def test_the_smaller_the_gradients_the_more_epsilon_counts(size: float, of_a_step: float) -> None:
    lr, chance = 0.01, torch.Generator().manual_seed(0)
    table_IH, expected_IH = start(0)[0], start(0)[0]
    rare, dense_adam = RowAdam([table_IH], [table_IH], lr), torch.optim.Adam([expected_IH], lr)
    for _ in range(120):
        row_R = torch.randperm(6, generator=chance)[:2].sort().values
        gradient_RH = size * torch.randn(2, 3, generator=chance, dtype=torch.float64)
        rare.gather(table_IH, row_R).grad = gradient_RH
        rare.step()
        expected_IH.grad = torch.zeros_like(expected_IH).index_copy(0, row_R, gradient_RH)
        dense_adam.step()
    rare.catch_up()
    assert (table_IH - expected_IH).abs().max().item() <= of_a_step * lr
    torch.testing.assert_close(
        rare.state[table_IH]["exp_avg_sq"], dense_adam.state[expected_IH]["exp_avg_sq"]
    )


def test_rows_that_stand_still_would_end_elsewhere() -> None:
    """The catching up is no detail: what untouched rows do is most of their way."""
    once = [({0, 1, 2}, 0.05), *[({1}, 0.05)] * 60]
    moved_IH = lazy(once, 0)[0][0] - start(0)[0].detach()
    first_IH = lazy(once[:1], 0)[0][0] - start(0)[0].detach()
    assert moved_IH[0].norm() > 5 * first_IH[0].norm()


def test_only_gathered_rows_are_written_before_the_others_catch_up() -> None:
    parameters = start(1)
    table_IH = parameters[0]
    adam = RowAdam(parameters, [table_IH], lr=0.05)
    lazy_steps(adam, parameters, [({0, 1}, 0.05)], torch.Generator())
    before_IH = table_IH.detach().clone()
    lazy_steps(adam, parameters, [({1, 5}, 0.05)], torch.Generator())
    changed_I = (table_IH.detach() != before_IH).any(dim=1)
    assert changed_I.nonzero().flatten().tolist() == [1, 5]
    adam.catch_up()
    assert bool((table_IH.detach() != before_IH).any(dim=1)[0])


def test_catching_up_twice_changes_nothing() -> None:
    parameters = start(2)
    adam = RowAdam(parameters, parameters[:1], lr=0.05)
    lazy_steps(adam, parameters, [({0, 3}, 0.05), ({4}, 0.05)], torch.Generator())
    adam.catch_up()
    once_IH = parameters[0].detach().clone()
    adam.catch_up()
    assert torch.equal(parameters[0].detach(), once_IH)


@pytest.mark.parametrize("numbers", [1, 3, 10])
def test_blocks_of_any_size_give_the_same_bits(
    numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [({0, 3, 7}, 0.05), ({2, 3}, 0.04), ({0, 11}, 0.03)]
    whole = lazy(steps, 0)[0]
    monkeypatch.setattr(optimizers, "CACHED_NUMBERS", numbers)
    monkeypatch.setattr(optimizers, "CATCH_UP_NUMBERS", 2 * numbers)
    assert all(torch.equal(a, b) for a, b in zip(lazy(steps, 0)[0], whole, strict=True))


@pytest.mark.parametrize("other", [torch.optim.Adam, None])
def test_a_state_goes_on_where_it_was_also_one_of_dense_adam(
    other: type[torch.optim.Adam] | None,
) -> None:
    first, second = [({0, 3}, 0.05), ({4}, 0.05)], [({3}, 0.02), ({0, 1}, 0.02)]
    parameters = start(3)
    chance = torch.Generator().manual_seed(3)
    adam = RowAdam(parameters, parameters[:1], lr=0.05)
    lazy_steps(adam, parameters, first, chance)
    adam.catch_up()
    fresh = copy.deepcopy(parameters)
    resumed = RowAdam(fresh, fresh[:1], lr=0.05)
    state = adam.state_dict()
    if other is not None:
        in_between = other(fresh)
        in_between.load_state_dict({**in_between.state_dict(), "state": state["state"]})
        state = {**state, "state": in_between.state_dict()["state"]}
    resumed.load_state_dict(copy.deepcopy(state))
    copied = torch.Generator()
    copied.set_state(chance.get_state())
    lazy_steps(adam, parameters, second, chance)
    lazy_steps(resumed, fresh, second, copied)
    adam.catch_up()
    resumed.catch_up()
    assert all(torch.equal(a, b) for a, b in zip(parameters, fresh, strict=True))


def test_a_fresh_state_can_be_taken_over() -> None:
    parameters = start(0)
    adam = RowAdam(parameters, parameters[:1], lr=0.05)
    adam.load_state_dict(adam.state_dict())
    lazy_steps(adam, parameters, [({0}, 0.05)], torch.Generator())


def test_rows_without_a_gradient_go_on_as_if_they_had_not_been_gathered() -> None:
    parameters = start(0)
    adam = RowAdam(parameters, parameters[:1], lr=0.05)
    lazy_steps(adam, parameters, [({0}, 0.05)], torch.Generator())
    adam.gather(parameters[0], torch.tensor([0]))
    adam.step()
    adam.catch_up()
    found_H = parameters[0].detach()[0]
    again = start(0)
    quiet = RowAdam(again, again[:1], lr=0.05)
    lazy_steps(quiet, again, [({0}, 0.05)], torch.Generator())
    quiet.step()
    quiet.catch_up()
    torch.testing.assert_close(found_H, again[0].detach()[0])


def test_a_table_is_gathered_once_a_step_and_there_is_no_closure() -> None:
    parameters = start(0)
    adam = RowAdam(parameters, parameters[:1], lr=0.05)
    adam.gather(parameters[0], torch.tensor([0]))
    with pytest.raises(ValueError, match="once a step"):
        adam.gather(parameters[0], torch.tensor([1]))
    with pytest.raises(TypeError, match="no closure"):
        adam.step(lambda: 0.0)
