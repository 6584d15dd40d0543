"""One run of batch scoring: users in files, histories in parts, lists in parts, one file."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, final

from service.checkpoint import MANIFEST, resolve
from service.errors import CheckpointMissingError
from service.manifest import Manifest, digest_of, version_of
from training.errors import BadInputError, ClusterError
from training.scoring.engine import Engine, Receipt
from training.scoring.lists import join_lists
from training.scoring.parts import Part, write_parts
from training.scoring.plan import ScoringPlan
from training.scoring.reader import read_users

PART_USERS: Final = 4096


class Watcher(Protocol):
    """Sees a run go on."""

    def on_read(self, users: int) -> None:
        """So many users are read, in all."""

    def on_scoring(self) -> None:
        """All are read, and scoring begins."""

    def on_scored(self, users: int, of_users: int) -> None:
        """So many are scored, in all."""


@final
@dataclass(frozen=True, slots=True)
class Users:
    """The users to score, and where their lists go.

    Attributes:
        source: A file, a glob or a folder of Parquet files.
        out: The Parquet file to write.
        columns: What the source calls our columns, where they have other names.
        part_users: Users that are scored in one go; of a process that dies, that are scored again.
    """

    source: Path
    out: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    part_users: int = PART_USERS


@final
@dataclass(frozen=True, slots=True)
class Scored:
    """What a run did.

    Attributes:
        model: Name of the model.
        version: Of its bundle.
        users: Lists written.
        popularity: Of these, the ones that popularity answered, by the reason.
        unknown_items: Ids that the catalogue lacks, those of each user counted once.
        read_s: Seconds of reading and gathering.
        score_s: Seconds of scoring, with loading the model and writing the file.
    """

    model: str
    version: str
    users: int
    popularity: Mapping[str, int]
    unknown_items: int
    read_s: float
    score_s: float


def score_users(
    users: Users,
    plan: ScoringPlan,
    engine: Engine,
    watcher: Watcher,
    clock: Callable[[], float] = time.perf_counter,
) -> Scored:
    """Score users into a Parquet file of one row each, in the order in which they first appear.

    All that is set aside meanwhile is in a folder beside the file, which goes at the end, as it
    does on Ctrl-C or an error; then there is no new file.

    Args:
        users: Whom.
        plan: With what.
        engine: Where.
        watcher: Told how it goes.
        clock: Seconds from any fixed point, never going back.

    Raises:
        BadInputError: The users cannot be read, or the file cannot be written.
        CheckpointError: The bundle cannot be used.
        ClusterError: Machines did not do their part.
    """
    manifest, digest = _first_page(plan.bundle)
    version = version_of(manifest, digest)
    facts = {"model": manifest.name, "version": version, "digest": digest, "k": str(plan.k)}
    if users.source.exists() and users.out.exists() and users.out.samefile(users.source):
        raise BadInputError(f"--out {users.out} is the file of the users; name another one")
    with _folder_beside(users.out) as folder:
        started_s = clock()
        parts = _read(users, folder, watcher)
        read_s = clock()
        receipts = _collect(engine, parts, plan, watcher)
        join_lists(parts, users.out, {f"foldin.{key}": value for key, value in facts.items()})
        ended_s = clock()
    reasons = ("empty_history", "no_known_items", "no_liked_items")
    return Scored(
        model=manifest.name,
        version=version,
        users=sum(part.users for part in parts),
        popularity={reason: sum(getattr(r, reason) for r in receipts) for reason in reasons},
        unknown_items=sum(receipt.unknown_items for receipt in receipts),
        read_s=read_s - started_s,
        score_s=ended_s - read_s,
    )


def _first_page(bundle: Path) -> tuple[Manifest, str]:
    path = resolve(bundle) / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointMissingError(f"{path} cannot be read: {error.strerror}") from error
    return Manifest.from_json(content), digest_of(content)


@contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    """Make a folder beside a file to be; of the folders above it, those that stay empty go too."""
    if out.is_dir():
        raise BadInputError(f"--out {out} is a folder; name a file")
    new = [folder for folder in out.absolute().parents if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise BadInputError(f"--out {out}: {error.filename} is a file and no folder") from error
    try:
        # What a process that is about to die writes there yet must not hide why all this ends.
        with tempfile.TemporaryDirectory(
            prefix=f".{out.name}.", dir=out.parent.absolute(), ignore_cleanup_errors=True
        ) as name:
            yield Path(name)
    finally:
        for folder in new:
            with suppress(OSError):  # it has the file
                folder.rmdir()


def _read(users: Users, folder: Path, watcher: Watcher) -> Sequence[Part]:
    parts: list[Part] = []
    read = 0
    frames = read_users(users.source, users.columns, folder)
    for part in write_parts(frames, folder, users.part_users):
        parts.append(part)
        read += part.users
        watcher.on_read(read)
    if not parts:
        raise BadInputError(f"{users.source}: there are no users")
    return parts


def _collect(
    engine: Engine, parts: Sequence[Part], plan: ScoringPlan, watcher: Watcher
) -> list[Receipt]:
    """Have all parts scored; one receipt for each."""
    of_users = sum(part.users for part in parts)
    receipts: dict[int, Receipt] = {}
    scored = 0
    watcher.on_scoring()
    with closing(engine(parts, plan)) as scoring:  # on Ctrl-C it ends before its folder goes
        for receipt in scoring:
            if receipt.part in receipts:
                raise ClusterError(f"part {receipt.part} was scored twice")
            receipts[receipt.part] = receipt
            scored += receipt.users
            watcher.on_scored(scored, of_users)
    if len(receipts) < len(parts):
        raise ClusterError(f"{len(parts) - len(receipts)} of {len(parts)} parts were not scored")
    return list(receipts.values())
