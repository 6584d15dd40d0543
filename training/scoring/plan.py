"""What to score with, and how: the same on every machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from service.retrieval_mode import RetrievalMode

# Their scores of a million items, in float32, take 1 GB.
BATCH_SIZE: Final = 256


@final
@dataclass(frozen=True, slots=True)
class ScoringPlan:
    """What to score with, and how.

    Attributes:
        bundle: Directory of the bundle itself: every machine has to answer with the same one.
        k: Length of the lists.
        retrieval: How items are found, as the service's setting says it.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: Of each process.
        batch_size: Users that are scored at a time.
        keep_seen: Whether items of a history may come back.
    """

    bundle: Path
    k: int = 20
    retrieval: RetrievalMode = "auto"
    device: str = "auto"
    threads: int = 1
    batch_size: int = BATCH_SIZE
    keep_seen: bool = False
