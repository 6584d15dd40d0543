"""The score bench, with and without ``implicit``."""

import sys
from pathlib import Path

import pytest

from training.bench import scoring
from training.bench.scoring import DENSE, IMPLICIT, IMPLICIT_ALONE, ScorePlan, time_scoring
from training.bench.subject import Subject, Users, drawn_histories

# The signature and the answer of implicit.cpu.topk.topk.
STAND_IN = """
import numpy as np

def topk(items, query, k, item_norms=None, filter_query_items=None, filter_items=None,
         num_threads=0):
    assert items.dtype == query.dtype == np.float32
    score = query @ items.T
    for row in range(len(query)):
        score[row, filter_query_items[row].indices] = -np.finfo(score.dtype).max
    indices = np.argsort(-score, axis=1)[:, :k].astype("int32")
    return indices, np.take_along_axis(score, indices, axis=1)
"""


@pytest.fixture
def implicit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "implicit" / "cpu"
    package.mkdir(parents=True)
    (tmp_path / "implicit" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "topk.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "implicit"]:
        monkeypatch.delitem(sys.modules, name)


def test_without_implicit_dense_torch_is_the_only_reference(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "has_implicit", lambda: False)
    rows = drawn_histories(subject.loaded, Users(30, 12))
    scored = {row.name: row for row in time_scoring(subject.loaded, rows, ScorePlan(10, 8, 1))}
    assert {"exact", "int8", DENSE} <= set(scored)
    assert scored[DENSE].ratio_to_dense == 1
    assert scored["int8"].ratio_to_implicit is None
    assert scored["int8"].same_items == 1
    assert scored[DENSE].same_items > 0.9  # float32 may trade the last item for its neighbour


@pytest.mark.usefixtures("implicit")
def test_implicit_searches_the_same_factors_and_finds_the_same_items(subject: Subject) -> None:
    rows = drawn_histories(subject.loaded, Users(30, 12))
    scored = {row.name: row for row in time_scoring(subject.loaded, rows, ScorePlan(10, 8, 1))}
    assert scored[IMPLICIT].same_items > 0.9
    assert scored[IMPLICIT_ALONE].same_items > 0.9
    assert scored[IMPLICIT].ratio_to_implicit == 1
    ratio = scored["exact"].users_per_second / scored[IMPLICIT].users_per_second
    assert scored["exact"].ratio_to_implicit == pytest.approx(ratio)
