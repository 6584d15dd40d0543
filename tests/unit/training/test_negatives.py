"""Sampled losses estimate the exact ones: without bias, or exactly in the limit."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from service.autoencoders.base import Autoencoder
from service.checkpoint import build_model
from service.histories import History, HistoryBatch
from training.losses import LOSSES, Loss
from training.negatives import (
    SAMPLED_LOSSES,
    Negatives,
    Proposal,
    SampledObjective,
    sampled_logistic,
    sampled_multinomial,
)

NUM_ITEMS = 40
CPU = torch.device("cpu")
POPULARITY_I = np.arange(NUM_ITEMS) ** 2


@pytest.fixture
def model() -> Autoencoder:
    torch.manual_seed(0)
    built = build_model("cdae", {"latent_dim": 5}, NUM_ITEMS, 0).double()
    torch.nn.init.normal_(built.item_vectors_IH)
    torch.nn.init.normal_(built.item_bias_I)
    return built


def targets() -> HistoryBatch:
    """Give a weighted, a popular, an empty and a full history."""
    weighted = History.of([1, 8, 22], [1.0, 2.0, 0.5])
    others = (History.of(items) for items in ([38, 39], [], range(NUM_ITEMS)))
    return HistoryBatch.from_rows([weighted, *others])


def queries() -> Tensor:
    noise = torch.Generator().manual_seed(3)
    return torch.randn(4, 5, dtype=torch.float64, generator=noise, requires_grad=True)


def value_and_gradient(loss: Loss, model: Autoencoder, query_BH: Tensor) -> list[Tensor]:
    leaves = (query_BH, model.item_vectors_IH, model.item_bias_I)
    loss_B = loss(query_BH, model, targets())
    return [loss_B.detach(), *torch.autograd.grad(loss_B.mean(), leaves)]


def proposal() -> Proposal:
    return Proposal.of(POPULARITY_I, CPU)


def drawing(name: str, count: int, seed: int = 0) -> Loss:
    noise = torch.Generator().manual_seed(seed)
    return SampledObjective(SAMPLED_LOSSES[name], proposal(), count, noise)


def test_seven_draws_in_ten_follow_popularity_and_three_nothing() -> None:
    expected_I = 0.7 * POPULARITY_I / POPULARITY_I.sum() + 0.3 / NUM_ITEMS
    np.testing.assert_allclose(proposal().log_probability_I.exp().numpy(), expected_I)
    noise = torch.Generator().manual_seed(0)
    counts_I = torch.zeros(NUM_ITEMS, dtype=torch.float64)
    for _ in range(20_000):
        drawn = proposal().draw(7, noise)
        counts_I[drawn.item_index_M] += times(drawn, 7)
    np.testing.assert_allclose(counts_I.numpy() / 140_000, expected_I, rtol=0.1)


def times(drawn: Negatives, count: int) -> Tensor:
    """Give how often each item was drawn: what it was expected to over what a draw stands for."""
    expected_M = count * proposal().log_probability_I.exp()[drawn.item_index_M]
    return expected_M / drawn.log_expected_M.exp()


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=30).filter(any),
    st.integers(1, 200),
    st.integers(0, 99),
)
def test_draws_are_ascending_items_and_each_comes_as_often_as_expected_give_or_take_one(
    popularity: list[int], count: int, seed: int
) -> None:
    chances = Proposal.of(np.array(popularity), CPU)
    drawn = chances.draw(count, torch.Generator().manual_seed(seed))
    assert bool((drawn.item_index_M.diff() > 0).all())
    expected_M = count * chances.log_probability_I.exp()[drawn.item_index_M]
    times_M = expected_M / drawn.log_expected_M.exp()
    torch.testing.assert_close(times_M, times_M.round())
    assert times_M.sum().item() == pytest.approx(count)
    # An interval of the distribution meets at most two parts that it does not fill.
    assert ((times_M - expected_M).abs() < 2).all()


def test_the_last_random_number_falls_on_the_last_item() -> None:
    short = Proposal(torch.tensor([0.5, 0.75], dtype=torch.float64), torch.zeros(2))
    drawn = short.draw(50, torch.Generator().manual_seed(0))
    assert drawn.item_index_M.max() == 1


@pytest.mark.parametrize("name", sorted(SAMPLED_LOSSES))
def test_every_item_once_is_the_exact_loss(name: str, model: Autoencoder) -> None:
    """Own items are no negatives of those who have them, and are of everybody else."""
    everything = Negatives(torch.arange(NUM_ITEMS), torch.zeros(NUM_ITEMS, dtype=torch.float64))

    def sampled(query_BH: Tensor, model: Autoencoder, batch: HistoryBatch) -> Tensor:
        return SAMPLED_LOSSES[name](query_BH, model, batch, everything)

    query_BH = queries()
    found = value_and_gradient(sampled, model, query_BH)
    torch.testing.assert_close(found, value_and_gradient(LOSSES[name], model, query_BH))


def test_a_draw_counts_by_the_textbook(model: Autoencoder) -> None:
    """A collision, and the correction by the expected number of draws."""
    drawn = Negatives(torch.tensor([2, 8, 30]), torch.tensor([0.3, -1.0, 0.7]).double())
    batch = HistoryBatch.from_rows([History.of([1, 8], [2.0, 1.0])])
    query_BH = queries()[:1]
    s = (query_BH @ model.item_vectors_IH.T + model.item_bias_I)[0]
    own, absent = s[[1, 8]], s[[2, 30]]
    expected = torch.tensor([0.3, 0.7]).double().exp()
    partition = own.exp().sum() + (absent.exp() / expected).sum()
    multinomial = 3 * partition.log() - 2 * s[1] - s[8]
    torch.testing.assert_close(sampled_multinomial(query_BH, model, batch, drawn)[0], multinomial)
    logistic = (1 + (-own).exp()).log().sum() + ((1 + absent.exp()).log() / expected).sum()
    torch.testing.assert_close(sampled_logistic(query_BH, model, batch, drawn)[0], logistic)


def within_sampling_error(draws: list[list[Tensor]], exact: list[Tensor]) -> bool:
    for position, wanted in enumerate(exact):
        values = torch.stack([draw[position] for draw in draws])
        error = values.std(dim=0) / len(draws) ** 0.5
        # 5 standard errors: chance alone breaks this once in two million numbers.
        if not ((values.mean(dim=0) - wanted).abs() <= 5 * error + 1e-9).all():
            return False
    return True


def test_the_sampled_logistic_loss_has_no_bias_in_value_and_gradient(model: Autoencoder) -> None:
    query_BH = queries()
    sampled = drawing("logistic", 3)
    draws = [value_and_gradient(sampled, model, query_BH) for _ in range(2000)]
    exact = value_and_gradient(LOSSES["logistic"], model, query_BH)
    assert within_sampling_error(draws, exact)
    shifted = [exact[0] * 1.05, *exact[1:]]
    assert not within_sampling_error(draws, shifted)  # the error bars are short enough to tell


def test_a_repeated_draw_counts_as_often_as_it_came() -> None:
    chances = Proposal.of(np.array([0, 10**9]), CPU)  # probabilities of .15 and .85
    drawn = chances.draw(20, torch.Generator().manual_seed(0))
    assert drawn.item_index_M.tolist() == [0, 1]
    torch.testing.assert_close(drawn.log_expected_M, torch.zeros(2, dtype=torch.float64))


def test_the_gradient_of_the_sampled_softmax_has_no_bias_but_that_of_the_logarithm(
    model: Autoencoder,
) -> None:
    """The bias of log Z falls as 1 / draws: with 600 it drowns in the noise of 400 batches."""
    query_BH = queries()
    sampled = drawing("multinomial", 600)
    draws = [value_and_gradient(sampled, model, query_BH) for _ in range(400)]
    exact = value_and_gradient(LOSSES["multinomial"], model, query_BH)
    assert within_sampling_error(draws, exact)
    uncorrected = SampledObjective(
        sampled_multinomial,
        Proposal(proposal().cumulative_I, torch.full((NUM_ITEMS,), -np.log(NUM_ITEMS))),
        600,
        torch.Generator().manual_seed(0),
    )
    draws = [value_and_gradient(uncorrected, model, query_BH) for _ in range(400)]
    assert not within_sampling_error(draws, exact)  # without the correction it would show


@pytest.mark.parametrize("name", sorted(SAMPLED_LOSSES))
def test_the_sampled_losses_come_to_the_exact_ones_as_negatives_grow(
    name: str, model: Autoencoder
) -> None:
    query_BH = queries()
    exact = torch.cat(
        [part.flatten() for part in value_and_gradient(LOSSES[name], model, query_BH)]
    )

    def error(count: int) -> float:
        sampled = drawing(name, count)
        found = (value_and_gradient(sampled, model, query_BH) for _ in range(10))
        flat = [torch.cat([part.flatten() for part in parts]) for parts in found]
        return float(torch.stack([(one - exact).norm() for one in flat]).mean() / exact.norm())

    errors = [error(count) for count in (10, 200, 4000)]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert errors[2] < 1e-2


def test_the_sampled_softmax_errs_on_the_low_side(model: Autoencoder) -> None:
    """The log of an unbiased estimate lies below the log of what it estimates."""
    query_BH = queries()
    exact_B = LOSSES["multinomial"](query_BH, model, targets())
    sampled = drawing("multinomial", 5)
    found_B = torch.stack([sampled(query_BH, model, targets()).detach() for _ in range(2000)]).mean(
        dim=0
    )
    assert (found_B[:2] < exact_B[:2]).all()
    torch.testing.assert_close(found_B[3], exact_B[3])  # who has everything needs no negatives


@pytest.mark.parametrize("name", sorted(SAMPLED_LOSSES))
def test_the_generator_is_the_only_source_of_chance(name: str, model: Autoencoder) -> None:
    query_BH = queries()

    def value(seed: int) -> Tensor:
        return drawing(name, 6, seed)(query_BH, model, targets())

    before = torch.get_rng_state()
    first = value(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(value(1), first)
    assert not torch.equal(value(2), first)


@pytest.mark.parametrize("name", sorted(SAMPLED_LOSSES))
def test_scores_of_any_size_stay_finite(name: str, model: Autoencoder) -> None:
    query_BH = queries()
    large_BH = (1e3 * query_BH).detach().requires_grad_()
    for part in value_and_gradient(drawing(name, 6), model, large_BH):
        assert part.isfinite().all()
