import numpy as np
import pytest

from training.baselines import Popularity
from training.data.split import Split
from training.evaluate import evaluate, ranked_lists
from training.ials import START, ImplicitALSConfig, fit_ials
from training.least_squares import Penalty

SMALL = ImplicitALSConfig(latent_dim=8, epochs=4)


def test_ials_finds_a_planted_structure_and_tunes_itself(planted_split: Split) -> None:
    shares: list[float] = []
    ranker, penalty = fit_ials(planted_split, SMALL, 0, shares.append)
    found = evaluate(ranker, planted_split.test).ndcg_at_100
    assert found > evaluate(Popularity(planted_split.train), planted_split.test).ndcg_at_100 + 0.1
    assert penalty.l2 > 0
    assert sum(shares) <= 1 + 1e-9


def test_a_given_penalty_is_kept_and_nothing_is_tried(planted_split: Split) -> None:
    shares: list[float] = []
    config = ImplicitALSConfig(latent_dim=4, epochs=2, l2=0.07, absent_weight=0.5)
    _, penalty = fit_ials(planted_split, config, 0, shares.append)
    assert penalty == Penalty(0.07, 0.5)
    assert len(shares) == config.epochs


def test_what_is_half_given_is_tuned_by_the_other_half(planted_split: Split) -> None:
    config = ImplicitALSConfig(latent_dim=4, epochs=1, l2=0.07)
    _, penalty = fit_ials(planted_split, config, 0, lambda _: None)
    assert penalty.l2 == 0.07
    by_weight = ImplicitALSConfig(latent_dim=4, epochs=1, absent_weight=0.5)
    _, penalty = fit_ials(planted_split, by_weight, 0, lambda _: None)
    assert penalty.absent_weight == 0.5
    steps = np.log2(penalty.l2 / START.l2)
    assert steps == pytest.approx(round(steps))


def test_the_search_goes_to_better_settings_until_there_are_none(
    planted_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a start that is far too strong it climbs down, and gains by it."""
    strong = Penalty(l2=3.0, absent_weight=START.absent_weight)
    monkeypatch.setattr("training.ials.START", strong)
    config = ImplicitALSConfig(latent_dim=4, epochs=2)
    _, penalty = fit_ials(planted_split, config, 0, lambda _: None)
    assert penalty.l2 < strong.l2


def test_one_seed_gives_one_model_and_seeds_differ(planted_split: Split) -> None:
    config = ImplicitALSConfig(latent_dim=4, epochs=1, l2=0.2, absent_weight=0.3)

    def lists(seed: int) -> list[list[int]]:
        ranker, _ = fit_ials(planted_split, config, seed, lambda _: None)
        return [items_N.tolist() for items_N in ranked_lists(ranker, planted_split.test)]

    assert lists(1) == lists(1)
    assert lists(1) != lists(2)
