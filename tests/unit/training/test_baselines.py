import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array

from service.histories import History, HistoryBatch
from service.retrieval.base import Wanted
from training import baselines
from training.baselines import Ease, Popularity, measure_baselines
from training.data.split import Split
from training.evaluate import evaluate

NOTHING = np.empty(0, dtype=np.int64)


def test_popularity_counts_users_and_breaks_ties_by_index() -> None:
    train = csr_array(np.array([[1, 0, 5], [1, 0, 0], [0, 1, 1]], dtype=np.float32))
    batch = HistoryBatch.from_rows([History.of([]), History.of([0])])
    tops = Popularity(train).top_k(batch, [Wanted(3, NOTHING), Wanted(3, np.array([0]))])
    assert tops[0].item_index_K.tolist() == [0, 2, 1]
    assert tops[1].item_index_K.tolist() == [2, 1]


@given(
    arrays(
        np.float64,
        st.sampled_from([(8, 5), (5, 5), (3, 5)]),  # more users than items, as many, fewer
        elements=st.sampled_from([0.0, 1.0]),
    ),
    st.sampled_from([0.5, 10.0, 300.0]),
)
def test_cholesky_ease_equals_the_explicit_inverse(x_UI: np.ndarray, l2: float) -> None:
    inverse_II = np.linalg.inv(x_UI.T @ x_UI + l2 * np.eye(5))
    expected_II = np.eye(5) - inverse_II / np.diag(inverse_II)
    found_II = Ease(csr_array(x_UI), l2)._weights_II
    np.testing.assert_allclose(found_II, expected_II, atol=1e-10)
    assert (np.diag(found_II) == 0).all()


def test_ease_solves_its_least_squares_problem() -> None:
    """At the optimum the gradient is zero off the diagonal, where B is free."""
    x_UI = (np.random.default_rng(0).random((40, 9)) < 0.4).astype(float)
    gram_II = x_UI.T @ x_UI
    weights_II = Ease(csr_array(x_UI), 3.0)._weights_II
    gradient_II = gram_II @ weights_II - gram_II + 3.0 * weights_II
    off_diagonal = ~np.eye(9, dtype=bool)
    np.testing.assert_allclose(gradient_II[off_diagonal], 0, atol=1e-9)


def test_the_table_of_rivals_names_the_l2_that_validation_chose(planted_split: Split) -> None:
    measured = measure_baselines(planted_split)
    popularity, ease = sorted(measured, key=lambda name: name != "popularity")
    assert ease.startswith("ease (l2 ")
    assert measured[ease]["test"].ndcg_at_100 > measured[popularity]["test"].ndcg_at_100
    by_l2 = {
        l2: evaluate(Ease(planted_split.train, l2), planted_split.valid).ndcg_at_100
        for l2 in baselines.EASE_L2_GRID
    }
    assert ease == f"ease (l2 {max(by_l2, key=lambda l2: by_l2[l2]):g})"


def test_ease_is_left_out_where_it_would_not_fit(
    planted_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "EASE_MAX_ITEMS", 10)
    assert set(measure_baselines(planted_split)) == {"popularity"}
