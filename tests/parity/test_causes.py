"""What a list is said to be there for, against the same model asked without it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from service.deployment import Loader, Served
from service.histories import History
from service.inference.engine import Job
from service.refiner import Wish
from service.retrieval.base import Wanted
from service.telemetry import Telemetry

NUM_ITEMS = 120
CASES = 500
EXPLAINED = Wish(explain=True)
NONE_HIDDEN = np.empty(0, dtype=np.int64)


def score_of(served: Served, item_index: int, history: History) -> float:
    shown_I = np.zeros(NUM_ITEMS, dtype=bool)
    shown_I[item_index] = True
    (outcome,) = served.engine.run([Job(Wanted(1, NONE_HIDDEN, shown_I), history=history)])
    assert outcome.top.item_index_K.tolist() == [item_index]
    return float(outcome.top.score_K[0])


def without(history: History, item_index: int) -> History:
    kept_N = history.item_index_N != item_index
    return History(history.item_index_N[kept_N], history.weight_N[kept_N])


@pytest.mark.parametrize("architecture", ["multvae", "cdae", "ease", "recvae", "elsa", "hybrid"])
def test_without_the_first_named_entry_an_item_scores_less_in_all_of_500_cases(
    architecture: str, write_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    write_bundle(tmp_path, NUM_ITEMS, architecture, seed=4)
    served = Loader(torch.device("cpu"), Telemetry()).load(tmp_path)
    chance = np.random.default_rng(11)
    cases = 0
    while cases < CASES:
        size = int(chance.integers(2, 60))
        history = History.of(chance.choice(NUM_ITEMS, size, replace=False))
        job = Job(Wanted(20, history.item_index_N), history=history, wish=EXPLAINED)
        (outcome,) = served.engine.run([job])
        assert outcome.causes is not None
        listed = zip(outcome.top.item_index_K, outcome.top.score_K, outcome.causes, strict=True)
        for item_index, score, causes in listed:
            if not causes:
                continue
            less = score_of(served, int(item_index), without(history, causes[0].item_index))
            assert less < score
            assert score - less == pytest.approx(causes[0].lift, rel=1e-3, abs=1e-5)
            assert [c.lift for c in causes] == sorted((c.lift for c in causes), reverse=True)
            cases += 1
