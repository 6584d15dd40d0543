"""The engine on Ray Data: parts go to actors on any machine of a cluster, each with the model.

Every machine has Foldin installed and sees the bundle and the folder of the parts under the same
path. Nothing but numbers of parts travels: an actor reads its histories and writes its lists
itself, under a name that the part has. Ray starts a dead actor again and gives its part to another
one, which writes the same file: no user is lost, and none stands there twice.
"""

import dataclasses
import importlib
import importlib.util
import logging
import os
import socket
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch

from training.errors import BadInputError, ClusterError
from training.scoring.engine import Receipt, score_part
from training.scoring.parts import Part
from training.scoring.plan import ScoringPlan
from training.scoring.scorer import Scorer

LOCAL: Final = "local"
AUTO: Final = "auto"
# Ray itself tries for three minutes to reach what is not there.
REACHED_S: Final = 5.0
# A part that is scored, and the next one.
PARTS_AN_ACTOR: Final = 2


@final
@dataclass(frozen=True, slots=True)
class RayEngine:
    """Scores parts on a cluster.

    Attributes:
        address: Of the cluster; ``local`` starts one on this machine, ``auto`` finds the one that
            this machine is a node of.
        actors: At most; None: as many as the cluster's cores have room for.
    """

    address: str = LOCAL
    actors: int | None = None

    def __call__(self, parts: Sequence[Part], plan: ScoringPlan) -> Generator[Receipt, None, None]:
        """Write the lists of every part, and give one receipt each.

        Raises:
            BadInputError: Ray is not installed, there is no cluster at the address, or no node of
                it has room for an actor.
            ClusterError: An actor failed, and would fail again; one that is lost is no error.
        """
        with _quiet():
            ray = _ray()
            is_ours = not ray.is_initialized()
            if is_ours:
                self._connect(ray)
            try:
                yield from self._scored(ray, parts, plan)
            except ray.exceptions.RayError as error:
                raise ClusterError(_reason(error)) from error
            finally:
                if is_ours:
                    ray.shutdown()

    def _connect(self, ray: Any) -> None:  # noqa: ANN401 - an optional package
        local = {"include_dashboard": False} if self.address == LOCAL else {}
        try:
            if self.address not in (LOCAL, AUTO):
                _reach(self.address)
            ray.init(address=self.address, log_to_driver=False, logging_level="ERROR", **local)
        except (OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise BadInputError(f"--ray-address {self.address}: {reason}") from error

    def _scored(
        self,
        ray: Any,  # noqa: ANN401 - an optional package
        parts: Sequence[Part],
        plan: ScoringPlan,
    ) -> Generator[Receipt, None, None]:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False  # there is ours
        context.raise_original_map_exception = True
        on_gpu = plan.device == "cuda"
        room = _room(ray, plan.threads, on_gpu=on_gpu)
        actors = min(self.actors or room, room, len(parts))
        rows = [{"index": part.index, "users": part.users} for part in parts]
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            PartScorer,
            fn_constructor_args=[plan, str(parts[0].folder)],
            batch_size=None,  # a block is a part
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(
                min_size=1,  # the cluster may shrink
                max_size=actors,
                initial_size=actors,
                max_tasks_in_flight_per_actor=PARTS_AN_ACTOR,
            ),
            num_cpus=plan.threads,
            **({"num_gpus": 1} if on_gpu else {}),
        )
        for row in done.iter_rows():
            yield Receipt(**{name: int(value) for name, value in row.items()})


@final
class PartScorer:
    """An actor: it loads the model once, and scores the parts that come.

    The model is loaded with the first part. What fails then is an error of that part and reaches
    who waits for it; of what fails while an actor is made, Ray tells in a hundred lines.

    Args:
        plan: What to score with, and how.
        folder: Of the parts.
    """

    def __init__(self, plan: ScoringPlan, folder: str) -> None:
        self._plan = plan
        self._folder = Path(folder)

    @cached_property
    def _scorer(self) -> Scorer:
        torch.set_num_threads(self._plan.threads)
        return Scorer(self._plan)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Score the parts of a block, by their columns; give their receipts, by theirs."""
        pairs = zip(batch["index"].tolist(), batch["users"].tolist(), strict=True)
        parts = [Part(index, self._folder, users) for index, users in pairs]
        receipts = [score_part(self._scorer, part) for part in parts]
        names = [field.name for field in dataclasses.fields(Receipt)]
        return {name: np.array([getattr(one, name) for one in receipts]) for name in names}


def _reach(address: str) -> None:
    """Try whether anything listens at an address, as far as it is one of a host and a port.

    Raises:
        OSError: Nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal() and int(port) < 1 << 16:
        socket.create_connection((host.strip("[]"), int(port)), REACHED_S).close()


def _room(ray: Any, threads: int, *, on_gpu: bool) -> int:  # noqa: ANN401 - an optional package
    """Count the actors that the nodes have room for, each of them on one node.

    Raises:
        BadInputError: None has room for one; Ray would wait until there is such a node.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    by_cores = [int(node.get("CPU", 0) // threads) for node in nodes]
    if not any(by_cores):
        most = max((int(node.get("CPU", 0)) for node in nodes), default=0)
        raise BadInputError(
            f"--threads {threads}: the nodes of the cluster have {most} cores at most"
        )
    if not on_gpu:
        return sum(by_cores)
    room = sum(
        min(cores, int(node.get("GPU", 0))) for cores, node in zip(by_cores, nodes, strict=True)
    )
    if not room:
        raise BadInputError(
            f"--device cuda: no node of the cluster has a graphics card and {threads} cores"
        )
    return room


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's log off the terminal: it sets its loggers up anew with every data set.

    What fails comes as an exception, and Ray has a log in files besides.
    """
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _ray() -> Any:  # noqa: ANN401 - an optional package
    if importlib.util.find_spec("ray") is None:
        raise BadInputError("--engine ray needs Ray: pip install 'foldin[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray = importlib.import_module("ray")
    importlib.import_module("ray.data")
    return ray


def _reason(error: Exception) -> str:
    """Find what an actor raised, in its first line; Ray has more to say, before and behind."""
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {str(cause).strip().partition(chr(10))[0]}"
