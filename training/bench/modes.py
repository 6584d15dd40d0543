"""The retrieval modes that can answer for a bundle, each with a tally of what its proofs took."""

from collections import Counter
from dataclasses import dataclass
from typing import Final, final, get_args

from service.checkpoint import Checkpoint
from service.errors import SettingsError
from service.retrieval.base import Retriever
from service.retrieval_mode import RetrievalMode, find_retrieval

# One of the others, picked at load: it has no speed of its own.
A_CHOICE: Final = "auto"


@final
class Tally:
    """Rows by the step that settled their list."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()

    def __call__(self, step: str, rows: int) -> None:
        """Count rows; what retrievers call."""
        self._rows[step] += rows

    def clear(self) -> None:
        """Begin anew."""
        self._rows.clear()

    @property
    def escalated(self) -> float | None:
        """Share of rows that their first candidates did not settle; None: nothing was told."""
        total = self._rows.total()
        return 1 - self._rows["certified"] / total if total else None


@final
@dataclass(frozen=True, slots=True)
class Mode:
    """One way to retrieve.

    Attributes:
        name: As the retriever calls itself.
        retriever: Ready to be asked.
        tally: What the retriever tells of itself.
    """

    name: str
    retriever: Retriever
    tally: Tally


def retrieval_modes(loaded: Checkpoint, threads: int) -> list[Mode]:
    """Make every way that ``RETRIEVAL`` has for a bundle on this machine, each once.

    Args:
        loaded: On the CPU.
        threads: Of a product.
    """
    modes: dict[str, Mode] = {}
    for name in get_args(RetrievalMode):
        if name == A_CHOICE:
            continue
        tally = Tally()
        try:
            retriever = find_retrieval(loaded, name, threads, tally).retriever
        except SettingsError:  # not for this machine, or its package is not installed
            continue
        modes.setdefault(retriever.name, Mode(retriever.name, retriever, tally))
    return list(modes.values())
