import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.reranking.calibration import Calibration
from service.reranking.pick import Pool, pick
from service.reranking.taste import PLAIN, SPARE, Taste, pool_size

NOBODY = np.empty((0, 4))
NOTHING = np.zeros(3)


def pool(size: int = 30, seed: int = 0) -> Pool:
    generator = np.random.default_rng(seed)
    vector_CH = generator.normal(size=(size, 4))
    vector_CH /= np.linalg.norm(vector_CH, axis=1, keepdims=True)
    return Pool(
        score_C=np.sort(generator.normal(size=size))[::-1],
        vector_CH=vector_CH,
        popularity_C=generator.random(size),
        category_CG=np.eye(3)[generator.integers(3, size=size)],
    )


def likeness(of: Pool, places: np.ndarray) -> float:
    vectors = of.vector_CH[places]
    return float((vectors @ vectors.T)[np.triu_indices(len(places), 1)].mean())


@given(st.integers(0, 40), st.integers(0, 100))
def test_a_plain_taste_keeps_the_models_order(k: int, seed: int) -> None:
    assert pick(pool(seed=seed), k, PLAIN, NOBODY, NOTHING).tolist() == list(range(min(k, 30)))


tastes = st.builds(
    Taste,
    diversity=st.floats(0, 0.5),
    calibration=st.floats(0, 0.5),
    popularity_penalty=st.floats(0, 3),
    dislikes=st.floats(0, 3),
)


@given(tastes, st.integers(0, 40), st.integers(0, 100))
def test_a_list_is_full_and_names_nothing_twice(taste: Taste, k: int, seed: int) -> None:
    own = pool(seed=seed)
    found = pick(own, k, taste, own.vector_CH[:2], own.category_CG[:4].sum(axis=0)).tolist()
    assert len(found) == len(set(found)) == min(k, 30)


def test_more_diversity_lists_items_that_are_less_alike() -> None:
    means = [
        np.mean([likeness(p, pick(p, 8, Taste(diversity=d), NOBODY, NOTHING)) for p in pools])
        for pools in [[pool(seed=seed) for seed in range(20)]]
        for d in (0.0, 0.3, 0.7, 1.0)
    ]
    assert means == sorted(means, reverse=True)
    assert means[0] - means[-1] > 0.05


def test_a_penalty_lists_less_popular_items() -> None:
    own = pool()
    popularity = [
        own.popularity_C[pick(own, 8, Taste(popularity_penalty=p), NOBODY, NOTHING)].mean()
        for p in (0.0, 0.5, 2.0)
    ]
    assert popularity[0] > popularity[1] > popularity[2]


def test_items_like_a_disliked_one_come_last() -> None:
    own = pool()
    disliked_NH = own.vector_CH[:1]
    found = pick(own, 30, Taste(dislikes=5.0), disliked_NH, NOTHING)
    assert found[-1] == 0
    plain = pick(own, 30, Taste(dislikes=5.0), NOBODY, NOTHING)
    assert plain.tolist() == list(range(30))


def test_calibration_brings_the_shares_of_the_history() -> None:
    own = pool(size=90)
    found = pick(own, 10, Taste(calibration=0.99), NOBODY, np.array([6.0, 4.0, 0.0]))
    assert own.category_CG[found].sum(axis=0).tolist() == [6, 4, 0]


def test_a_history_without_categories_calibrates_nothing() -> None:
    own = pool()
    found = pick(own, 30, Taste(calibration=0.9), NOBODY, np.zeros(3))
    assert found.tolist() == list(range(30))


def test_the_divergence_of_equal_shares_is_zero() -> None:
    calibration = Calibration(np.array([1.0, 1.0]))
    divergence_C = calibration.divergence_of(np.array([[0.5, 0.5], [1.0, 0.0]]))
    assert divergence_C[0] == pytest.approx(0, abs=1e-12)
    assert divergence_C[1] > 1


def test_a_pool_grows_with_the_list() -> None:
    assert pool_size(1) > SPARE
    assert pool_size(100) == SPARE + 200
