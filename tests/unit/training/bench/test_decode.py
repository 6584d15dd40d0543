"""The decode bench: its reference lists are right, its rows complete, a wrong mode shows."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from service.errors import SettingsError
from service.histories import HistoryBatch
from service.ranker import ModelRanker
from service.retrieval.base import TopK, Wanted
from training.bench import decode, modes
from training.bench.decode import DecodePlan, check_decoding, exact_lists, time_decoding
from training.bench.modes import Mode, Tally, retrieval_modes
from training.bench.subject import Subject, Users, drawn_histories

PLAN = DecodePlan(batch_sizes=(1, 4), ks=(5, 10), repeats=1, at_least_s=0)


class Backwards:
    """Gives the right items in the wrong order."""

    name = "backwards"

    def __init__(self, ranker: ModelRanker) -> None:
        self._ranker = ranker

    def top_k(
        self, query_BH: Tensor, wanted: Sequence[Wanted], histories: HistoryBatch | None = None
    ) -> list[TopK]:
        tops = self._ranker.retriever.top_k(query_BH, wanted, histories)
        return [TopK(top.item_index_K[::-1], top.score_K[::-1]) for top in tops]


def test_every_mode_is_timed_at_every_size_against_the_reference(subject: Subject) -> None:
    rows = drawn_histories(subject.loaded, Users(6, 20))
    timed = list(time_decoding(subject.loaded, rows, PLAN))
    names = [mode.name for mode in retrieval_modes(subject.loaded, 1)]
    assert {"exact", "int8"} <= set(names)
    expected = {(name, size, k) for name in names for size in (1, 4) for k in (5, 10)}
    assert {(row.mode, row.batch, row.k) for row in timed} == expected
    assert len(timed) == len(expected)
    for row in timed:
        assert row.ratio == pytest.approx(row.reference_ms / row.subject_ms)


def test_the_modes_give_the_exact_lists(subject: Subject) -> None:
    rows = drawn_histories(subject.loaded, Users(150, 20))
    checked = [row for row in check_decoding(subject.loaded, rows, PLAN) if row.mode != "ann"]
    assert all(row.identical == 1.0 for row in checked)
    assert all(row.users == 150 for row in checked)
    assert all(row.escalated is not None and 0 <= row.escalated <= 1 for row in checked)


def test_the_exact_lists_hide_the_history_and_break_ties_by_index(subject: Subject) -> None:
    model = subject.loaded.model
    rows = drawn_histories(subject.loaded, Users(3, 390))
    lists = exact_lists(model, rows, 20)
    for items_K, row in zip(lists, rows, strict=True):
        assert len(items_K) == 10  # no more are left
        assert not set(items_K) & set(row.item_index_N)
        query_BH = model.queries(model.encode(HistoryBatch.from_rows([row])))
        score_I = query_BH[0].double() @ model.item_vectors_IH.double().T + model.item_bias_I
        score_K = score_I.float().numpy()[items_K]
        assert (np.diff(score_K) <= 0).all()


def test_a_mode_that_orders_otherwise_is_found_out(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker = ModelRanker(subject.loaded.model)
    wrong = Mode("backwards", Backwards(ranker), Tally())
    monkeypatch.setattr(decode, "retrieval_modes", lambda *_: [wrong])
    rows = drawn_histories(subject.loaded, Users(10, 20))
    with torch.inference_mode():
        (row, _) = check_decoding(subject.loaded, rows, PLAN)
    assert row.identical == 0
    assert row.escalated is None


def test_a_mode_that_this_machine_lacks_is_left_out(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise SettingsError("not here")

    monkeypatch.setattr(modes, "find_retrieval", refuse)
    assert retrieval_modes(subject.loaded, 1) == []


def test_a_tally_tells_the_share_of_rows_that_were_not_certified() -> None:
    tally = Tally()
    tally("certified", 3)
    tally("widened", 1)
    assert tally.escalated == 0.25
    tally.clear()
    tally("recomputed", 2)
    assert tally.escalated == 1
    assert Tally().escalated is None
