from types import ModuleType

import numpy as np
import pytest
from scipy.sparse import csr_array

from service.histories import History, HistoryBatch
from service.retrieval.base import Wanted
from training import baselines, footprint
from training.baselines import Popularity, measure_baselines
from training.closed_form import ClosedForm, tuned
from training.data.split import Split
from training.evaluate import evaluate

NOTHING = np.empty(0, dtype=np.int64)


def test_popularity_counts_users_and_breaks_ties_by_index() -> None:
    train = csr_array(np.array([[1, 0, 5], [1, 0, 0], [0, 1, 1]], dtype=np.float32))
    batch = HistoryBatch.from_rows([History.of([]), History.of([0])])
    tops = Popularity(train).top_k(batch, [Wanted(3, NOTHING), Wanted(3, np.array([0]))])
    assert tops[0].item_index_K.tolist() == [0, 2, 1]
    assert tops[1].item_index_K.tolist() == [2, 1]


def test_the_table_of_rivals_names_the_l2_that_validation_chose(planted_split: Split) -> None:
    measured = measure_baselines(planted_split)
    popularity, ease = sorted(measured, key=lambda name: name != "popularity")
    assert measured[ease]["test"].ndcg_at_100 > measured[popularity]["test"].ndcg_at_100
    chosen = tuned(planted_split, None, 0.0, lambda _: None)
    assert ease == f"ease (l2 {chosen.l2:.3g})"
    for part, held_out in (("valid", planted_split.valid), ("test", planted_split.test)):
        assert measured[ease][part] == evaluate(ClosedForm(planted_split.train, chosen), held_out)


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [(baselines, "EASE_MAX_ITEMS", 10), (footprint, "available_bytes", lambda: 1000)],
)
def test_ease_is_left_out_where_it_would_not_fit(
    planted_split: Split,
    module: ModuleType,
    name: str,
    value: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, name, value)
    assert set(measure_baselines(planted_split)) == {"popularity"}
