"""An engine scores parts, somewhere; the local one does it here, one after the other."""

import os
import uuid
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, final

import polars as pl
import torch

from training.scoring.parts import Part
from training.scoring.plan import ScoringPlan
from training.scoring.scorer import Scorer


@final
@dataclass(frozen=True, slots=True)
class Receipt:
    """Says that the lists of a part are written.

    Attributes:
        part: Index of the part.
        users: In it.
        empty_history: Users that popularity answered for this reason, ...
        no_known_items: ... for this, ...
        no_liked_items: ... and for this.
        unknown_items: Ids that the catalogue lacks, those of each user counted once.
        process: Number of the process that wrote them, on its machine.
    """

    part: int
    users: int
    empty_history: int
    no_known_items: int
    no_liked_items: int
    unknown_items: int
    process: int


class Engine(Protocol):
    """Scores parts."""

    def __call__(self, parts: Sequence[Part], plan: ScoringPlan) -> Generator[Receipt, None, None]:
        """Write the lists of every part, and give one receipt each, in any order.

        Raises:
            FoldinError: They cannot be written.
        """


def score_part(scorer: Scorer, part: Part) -> Receipt:
    """Write the lists of a part under their name, whole: to do it again changes nothing."""
    lists = scorer.lists(pl.read_parquet(part.histories, glob=False))
    staged = part.lists.with_suffix(f".{uuid.uuid4().hex}")
    lists.write_parquet(staged)
    staged.replace(part.lists)
    reasons = Counter(lists["reason"].drop_nulls())
    return Receipt(
        part=part.index,
        users=lists.height,
        empty_history=reasons["empty_history"],
        no_known_items=reasons["no_known_items"],
        no_liked_items=reasons["no_liked_items"],
        unknown_items=int(lists["unknown_items"].list.len().sum()),
        process=os.getpid(),
    )


def score_here(parts: Sequence[Part], plan: ScoringPlan) -> Generator[Receipt, None, None]:
    """Score part after part in this process."""
    torch.set_num_threads(plan.threads)
    scorer = Scorer(plan)
    for part in parts:
        yield score_part(scorer, part)
