"""What the workers of one service have agreed on: which model answers, and who is that far.

A folder of small files, each written under another name and renamed. The worker that was asked
to change the model writes the choice down; the others look, and follow. One that takes the place
of a dead one begins with it, whatever ``CURRENT`` says by then.
"""

import multiprocessing
import os
import secrets
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, final

import orjson

if sys.platform != "win32":  # which has one worker only, and nobody to wait for
    import fcntl

CHOICE: Final = "choice"
TURN: Final = ".turn"  # beside the folders of models, of which none is hidden
ANSWERS_WITH: Final = ".answers_with"


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """The models that all workers are to hold.

    Attributes:
        current: Version of the one that answers.
        previous: Version of the one that a rollback brings back.
        token: No other choice has it: the same models, chosen again, are to be tried again.
        seen: The state of the model directory that was acted upon: who follows must not do it
            again, and undo a rollback that came in between. Empty: none.
    """

    current: str
    previous: str | None
    token: str
    seen: str = ""


@final
class Agreement:
    """The folder, as each of the workers has it.

    Args:
        folder: Made if it is not there, in one that several models' agreements may share; nobody
            but this service may write to either.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def choice(self) -> Choice | None:
        """Give what was chosen last; None: nothing yet."""
        try:
            return Choice(**orjson.loads((self._folder / CHOICE).read_bytes()))
        except FileNotFoundError:
            return None

    def choose(self, current: str, previous: str | None, seen: str = "") -> Choice:
        """Write down what all workers are to hold."""
        choice = Choice(current, previous, secrets.token_hex(8), seen)
        self._written(orjson.dumps(asdict(choice))).replace(self._folder / CHOICE)
        return choice

    def choose_first(self, current: str) -> None:
        """Write down what the first worker began with; a choice that is there stays."""
        written = self._written(orjson.dumps(asdict(Choice(current, None, secrets.token_hex(8)))))
        with suppress(FileExistsError):
            os.link(written, self._folder / CHOICE)
        written.unlink()

    def tell(self, version: str) -> None:
        """Let the others know which model this worker answers with."""
        worker = multiprocessing.current_process().name
        self._written(version.encode()).replace(self._folder / f"{worker}{ANSWERS_WITH}")

    def versions(self) -> dict[str, int]:
        """Count workers by the version that they answer with: one version, when all are there."""
        found: Counter[str] = Counter()
        for path in self._folder.glob(f"*{ANSWERS_WITH}"):
            with suppress(FileNotFoundError):  # of a worker that ended just now
                found[path.read_text()] += 1
        return dict(found)

    def forget(self, worker: str) -> None:
        """Count a worker no more: it has ended."""
        (self._folder / f"{worker}{ANSWERS_WITH}").unlink(missing_ok=True)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until no other worker loads any model: while one does, the others answer.

        The turn of a worker that dies ends with it. Blocks.
        """
        with (self._folder.parent / TURN).open("wb") as file:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _written(self, content: bytes) -> Path:
        path = self._folder / f".{secrets.token_hex(8)}"
        path.write_bytes(content)
        return path
