"""What is refused as too large, and that what is not refused fits."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from training import footprint
from training.errors import BadInputError
from training.footprint import block_rows, needed_bytes, refuse_if_too_large

# Fits, prunes and ranks as a run does, in a process that has done nothing else; a tiny fit first
# loads what every fit loads.
MEASURE = """
import sys
from pathlib import Path
import numpy as np
import torch
from scipy.sparse import csr_array
from service.autoencoders.ease import EaseConfig
from service.ranker import ModelRanker
from training.closed_form import ClosedForm, ndcg_by_user
from training.data.split import HeldOut
from training.footprint import needed_bytes
from training.linear import _model
from training.memory import forget_peak, peak_bytes
from training.pruning import Loss, prune
from training.regularizer import Regularizer

def log(users, items, length):
    generator = np.random.default_rng(0)
    cells = (np.repeat(np.arange(users), length), generator.integers(0, items, users * length))
    train = csr_array((np.ones(users * length, np.float32), cells), shape=(users, items))
    train.sum_duplicates()
    return train

def fit(train):
    some = train[:500]
    nobody = np.full(some.shape[0], -1)
    valid = HeldOut(some, some, tuple(map(str, range(some.shape[0]))), nobody)
    closed = ClosedForm(train, Regularizer(20.0, 0.5))
    ndcg_by_user(closed, valid)
    bias = torch.zeros(train.shape[1])

    def loss_of(matrix):
        model = _model("ease", EaseConfig(num_weights=len(matrix.weight_M)), matrix, bias)
        ndcg_by_user(ModelRanker(model), valid)
        return Loss(1.0, 1.0)

    prune(closed.precision, loss_of, 0.0)

fit(log(60, 50, 5))
train = log(*map(int, sys.argv[1:]))
forget_peak()
before = peak_bytes()
fit(train)
print(peak_bytes() - before, needed_bytes(train))
"""


@pytest.mark.parametrize(
    ("users", "items", "length"),
    [(2500, 1800, 30), (300, 4000, 30), (2000, 500, 200)],
    ids=["items are fewer", "users are fewer", "histories are long"],
)
def test_a_fit_takes_no_more_than_was_estimated(users: int, items: int, length: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(users), str(items), str(length)],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
    )
    peak, needed = map(int, done.stdout.split())
    assert peak <= needed


def empty_log(users: int, items: int) -> csr_array:
    nothing = np.empty(0, dtype=np.int64)
    return csr_array((np.empty(0, dtype=np.float32), (nothing, nothing)), shape=(users, items))


def test_what_memory_cannot_hold_is_refused_with_figures_and_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(footprint, "available_bytes", lambda: 2_000_000_000)
    refuse_if_too_large(empty_log(8_000, 7_000))
    refuse_if_too_large(empty_log(100, 9_000))  # a small user x user matrix does instead
    with pytest.raises(BadInputError) as refusal:
        refuse_if_too_large(empty_log(138_000, 24_000))
    assert "needs 7.0 GB for 138,000 users and 24,000 items" in str(refusal.value)
    assert "2.0 GB are free: use elsa (low rank), or raise" in str(refusal.value)


def test_little_memory_is_told_in_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "available_bytes", lambda: 31_400_000)
    with pytest.raises(BadInputError, match=r"needs \d+ MB for .* 31 MB are free"):
        refuse_if_too_large(empty_log(1_500, 1_000))


def test_longer_histories_and_more_interactions_need_more() -> None:
    few, many = np.zeros((400, 900), dtype=np.float32), np.zeros((400, 900), dtype=np.float32)
    few[:, :3] = 1
    many[:, :600] = 1
    assert needed_bytes(csr_array(many)) > needed_bytes(csr_array(few)) + 64 * 400 * 500


def test_nothing_is_refused_where_no_one_knows_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(footprint, "available_bytes", lambda: None)
    refuse_if_too_large(empty_log(10**6, 10**6))


def test_a_block_is_never_empty_and_never_larger_than_allowed() -> None:
    assert block_rows(100) == footprint.BLOCK
    assert block_rows(60_000) == 66
    assert block_rows(10**7) == 1
    assert block_rows(0) == footprint.BLOCK
