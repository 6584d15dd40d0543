"""``foldin score``: histories of any number of users in, a Parquet file of their lists out."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from service.checkpoint import resolve
from service.retrieval_mode import RetrievalMode
from training.errors import BadInputError
from training.scoring.engine import Engine, score_here
from training.scoring.plan import BATCH_SIZE, ScoringPlan
from training.scoring.progress import ScoringProgress
from training.scoring.ray_engine import LOCAL, RayEngine
from training.scoring.run import Scored, Users, score_users
from training.verbs.options import (
    CheckpointArgument,
    DeviceOption,
    JsonOption,
    console,
    data_options,
    refuse_unwritable,
    write_json,
)


def score(
    checkpoint: CheckpointArgument,
    users: Annotated[
        Path, typer.Argument(help="CSV, TSV, JSON Lines or Parquet file, glob, Parquet folder.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Length of the lists.")] = 20,
    columns: Annotated[
        str, typer.Option(help="Names in your files: 'user_id=uid,history=items'.")
    ] = "",
    keep_seen: Annotated[
        bool, typer.Option("--keep-seen", help="Items of a history may come back.")
    ] = False,
    retrieval: Annotated[
        RetrievalMode, typer.Option(help="How items are found; ann misses a few.")
    ] = "auto",
    device: DeviceOption = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of each process. [local: one per core; ray: 1]")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Users a batch.")] = BATCH_SIZE,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="This process, or a cluster.")
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(help="Cluster: 'auto' (this node's), HOST:PORT, 'local' (a new one). [local]"),
    ] = None,
    actors: Annotated[
        int | None, typer.Option(min=1, help="Processes on Ray. [all that its cores hold]")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Score users in bulk: each gets the list that the service answers for the same history.

    USERS is one row a user (user_id, history: a list of item ids, or of objects with item_id,
    rating, weight; a user in two rows gets two lists), or a log (user_id, item_id, and perhaps
    rating, weight), whose rows need no order: they are brought together on the disk, in a folder
    beside OUT.

    OUT has a row a user, in the order of their first rows: user_id, item_ids, scores, source
    (model or popularity), reason (empty_history, no_known_items, no_liked_items; null for the
    model), unknown_items. It is there when it is whole; memory does not grow with the users.

    On Ray, every machine has Foldin and sees CHECKPOINT and the folder of OUT.
    """
    plan = ScoringPlan(
        bundle=resolve(checkpoint).absolute(),
        k=k,
        retrieval=retrieval,
        device=device,
        threads=threads or (torch.get_num_threads() if engine == "local" else 1),
        batch_size=batch_size,
        keep_seen=keep_seen,
    )
    renamed = data_options(None, columns, "strong", None).columns
    refuse_unwritable(out.parent, json)
    _refuse_overwriting(json, users, out)
    chosen = _chosen(engine, ray_address, actors)
    with _ended_by_sigterm(), ScoringProgress(console) as progress:
        scored = score_users(Users(users, out, renamed), plan, chosen, progress)
    _tell(scored, out)
    if json:
        write_json(json, {**asdict(scored), "engine": engine, "k": k, "out": str(out)})


def _chosen(engine: str, ray_address: str | None, actors: int | None) -> Engine:
    if engine == "ray":
        return RayEngine(ray_address or LOCAL, actors)
    if ray_address is not None or actors is not None:
        raise BadInputError(
            "--ray-address and --actors are for --engine ray, which is not asked for"
        )
    return score_here


def _refuse_overwriting(json: Path | None, users: Path, out: Path) -> None:
    """Refuse a record in place of the lists or of the users."""
    if json is None:
        return
    for name, path in (("USERS", users), ("--out", out)):
        if json.resolve() == path.resolve():
            raise BadInputError(f"--json {json} is the file of {name}; name another one")


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End as on Ctrl-C when somebody ends the process: no folder stays beside the lists."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(scored: Scored, out: Path) -> None:
    counts = {reason: count for reason, count in scored.popularity.items() if count}
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
    console.print(
        f"{scored.users:,} users in {out} by {scored.model} {scored.version}; "
        f"{sum(counts.values()):,} by popularity{f' ({reasons})' if reasons else ''}; "
        f"{scored.unknown_items:,} ids unknown; read in {scored.read_s:.1f} s, "
        f"scored in {scored.score_s:.1f} s, {scored.users / scored.score_s:,.0f} users/s",
        highlight=False,
        soft_wrap=True,
    )
