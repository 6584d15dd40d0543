"""A part is scored whole, and as often as one likes."""

import os
from pathlib import Path

import polars as pl

from training.scoring.engine import Receipt, score_here, score_part
from training.scoring.parts import write_parts
from training.scoring.plan import ScoringPlan
from training.scoring.scorer import Scorer


def test_a_receipt_counts_what_is_in_the_file(
    plan: ScoringPlan, histories: pl.DataFrame, tmp_path: Path
) -> None:
    parts = list(write_parts([histories], tmp_path, 5))
    receipts = list(score_here(parts, plan))
    assert receipts[0] == Receipt(0, 5, 1, 1, 1, 3, os.getpid())
    assert receipts[1] == Receipt(1, 2, 0, 0, 0, 0, os.getpid())
    assert pl.read_parquet(parts[0].lists).height == 5


def test_a_part_that_is_scored_again_is_the_same_file_and_nothing_more(
    plan: ScoringPlan, histories: pl.DataFrame, tmp_path: Path
) -> None:
    (part,) = write_parts([histories], tmp_path, 100)
    scorer = Scorer(plan)
    first = score_part(scorer, part), part.lists.read_bytes()
    assert (score_part(scorer, part), part.lists.read_bytes()) == first
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [part.histories.name, part.lists.name]
