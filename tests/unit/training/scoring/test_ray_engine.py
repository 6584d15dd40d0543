"""The engine on Ray, as far as it goes without a cluster: a stand-in for Ray runs actors here."""

import logging
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from training.errors import BadInputError, ClusterError
from training.scoring.engine import Receipt, score_here
from training.scoring.parts import Part, write_parts
from training.scoring.plan import ScoringPlan
from training.scoring.ray_engine import PartScorer, RayEngine
from training.scoring.scorer import Scorer


class RayError(Exception):
    """As Ray's: it may carry what an actor raised."""

    def __init__(self, message: str, cause: Exception | None = None) -> None:
        super().__init__(message)
        self.cause = cause


class HereRay(ModuleType):
    """What the engine uses of Ray, in this process; it notes how it is used."""

    def __init__(self, cores: int = 4) -> None:
        super().__init__("ray")
        self.exceptions = SimpleNamespace(RayError=RayError)
        self.data: Any = SimpleNamespace(
            DataContext=SimpleNamespace(get_current=SimpleNamespace),
            ActorPoolStrategy=lambda **size: size,
            from_items=self._from_items,
        )
        self.cores: tuple[float, ...] = (cores,)
        self.cards = 2.0
        self.begun: list[Mapping[str, Any]] = []
        self.pool: dict[str, Any] = {}
        self.fails: Exception | None = None
        self.ended = 0

    def is_initialized(self) -> bool:
        return len(self.begun) > self.ended

    def init(self, **how: object) -> None:
        if how["address"] == "nowhere":
            raise ConnectionError("no cluster there\nand more")
        self.begun.append(how)

    def shutdown(self) -> None:
        self.ended += 1

    def nodes(self) -> list[dict[str, Any]]:
        alive = [
            {"Alive": True, "Resources": {"CPU": cores, "GPU": self.cards}} for cores in self.cores
        ]
        return [*alive, {"Alive": False, "Resources": {"CPU": 99.0, "GPU": 99.0}}]

    def _from_items(self, rows: Sequence[dict[str, int]], override_num_blocks: int) -> Any:  # noqa: ANN401 - a data set
        assert override_num_blocks == len(rows)

        def iter_rows() -> Iterator[dict[str, Any]]:
            actor = self.pool["fn"](*self.pool["fn_constructor_args"])
            for row in reversed(rows):  # in whichever order
                if self.fails is not None:
                    raise self.fails
                done = actor({name: np.array([value]) for name, value in row.items()})
                yield {name: values[0] for name, values in done.items()}

        def map_batches(scorer: type, **pool: object) -> Any:  # noqa: ANN401 - a data set
            self.pool = {"fn": scorer, **pool}
            return SimpleNamespace(iter_rows=iter_rows)

        return SimpleNamespace(map_batches=map_batches)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> HereRay:
    ray = HereRay()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: object())
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ray.data)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
    return ray


@pytest.fixture
def parts(histories: pl.DataFrame, tmp_path: Path) -> list[Part]:
    return list(write_parts([histories], tmp_path, 2))


def test_every_part_is_scored_as_it_is_here(
    ray: HereRay, parts: list[Part], plan: ScoringPlan
) -> None:
    here = list(score_here(parts, plan))
    written = [part.lists.read_bytes() for part in parts]
    for part in parts:
        part.lists.unlink()
    receipts = list(RayEngine()(parts, plan))
    assert sorted(receipts, key=lambda receipt: receipt.part) == here
    assert [part.lists.read_bytes() for part in parts] == written
    assert all(type(value) is int for value in vars_of(receipts[0]))
    assert ray.ended == 1


def vars_of(receipt: Receipt) -> list[object]:
    return [getattr(receipt, name) for name in receipt.__slots__]


@pytest.mark.parametrize(
    ("engine", "change", "expected"),
    [
        (RayEngine(), {}, (4, 1, None)),
        (RayEngine(), {"threads": 2}, (2, 2, None)),
        (RayEngine(actors=3), {}, (3, 1, None)),
        (RayEngine(actors=99), {}, (4, 1, None)),
    ],
)
def test_there_are_as_many_actors_as_the_cores_have_room_for(
    engine: RayEngine,
    change: dict[str, Any],
    expected: tuple[int, int, None],
    ray: HereRay,
    parts: list[Part],
) -> None:
    plan = ScoringPlan(Path("unread"), **change)
    ray.fails = RayError("stop here")
    with pytest.raises(ClusterError):
        list(engine(parts, plan))
    pool = ray.pool
    assert (pool["compute"]["max_size"], pool["num_cpus"], pool.get("num_gpus")) == expected
    assert pool["compute"]["min_size"] == 1


@pytest.mark.parametrize("cores", [(3.0,), (3.0, 2.0, 3.0), ()])
def test_an_actor_that_no_node_can_hold_is_refused_and_not_waited_for(
    cores: tuple[float, ...], ray: HereRay, parts: list[Part]
) -> None:
    ray.cores = cores
    line = f"--threads 4: the nodes of the cluster have {max(cores, default=0):g} cores at most"
    with pytest.raises(BadInputError, match=line):
        list(RayEngine()(parts, ScoringPlan(Path("unread"), threads=4)))
    assert ray.ended == 1


def test_what_is_left_of_each_node_is_no_room(ray: HereRay, parts: list[Part]) -> None:
    ray.cores, ray.fails = (3.0, 3.0, 1.0), RayError("stop here")
    with pytest.raises(ClusterError):
        list(RayEngine()(parts, ScoringPlan(Path("unread"), threads=2)))
    assert ray.pool["compute"]["max_size"] == 2


def test_a_graphics_card_that_no_node_has_is_refused(ray: HereRay, parts: list[Part]) -> None:
    ray.cards = 0.0
    with pytest.raises(BadInputError, match="--device cuda: no node"):
        list(RayEngine()(parts, ScoringPlan(Path("unread"), device="cuda")))


def test_an_actor_on_a_gpu_has_one_to_itself(
    ray: HereRay, parts: list[Part], plan: ScoringPlan
) -> None:
    ray.fails = RayError("stop here")
    with pytest.raises(ClusterError):
        list(RayEngine()(parts, replace(plan, device="cuda")))
    assert (ray.pool["compute"]["max_size"], ray.pool["num_gpus"]) == (2, 1)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RayError("Ray says\nmuch", ValueError("no such item\nand more")),
            "ValueError: no such item",
        ),
        (RayError("Ray says\nmuch"), "RayError: Ray says"),
    ],
)
def test_what_an_actor_raised_is_told_in_one_line_and_all_ends(
    error: Exception, message: str, ray: HereRay, parts: list[Part], plan: ScoringPlan
) -> None:
    ray.fails = error
    with pytest.raises(ClusterError) as raised:
        list(RayEngine()(parts, plan))
    assert str(raised.value) == message
    assert ray.ended == 1
    assert logging.root.manager.disable == logging.NOTSET


def test_a_cluster_that_is_connected_already_stays_so(
    ray: HereRay, parts: list[Part], plan: ScoringPlan
) -> None:
    ray.init(address="mine")
    assert len(list(RayEngine()(parts, plan))) == len(parts)
    assert ray.is_initialized()


def test_an_address_without_a_cluster_is_bad_input(
    ray: HereRay, parts: list[Part], plan: ScoringPlan
) -> None:
    with pytest.raises(BadInputError, match=r"--ray-address nowhere: no cluster there$"):
        list(RayEngine("nowhere")(parts, plan))
    assert not ray.begun


def test_an_address_where_nothing_listens_is_refused_before_ray_tries_for_minutes(
    ray: HereRay, parts: list[Part], plan: ScoringPlan
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(BadInputError, match=f"--ray-address {address}: .*refused"):
            list(RayEngine(address)(parts, plan))
        assert not ray.begun
        taken.listen()
        assert len(list(RayEngine(address)(parts, plan))) == len(parts)


def test_a_local_cluster_has_no_dashboard_and_another_keeps_its_own(
    ray: HereRay, parts: list[Part], plan: ScoringPlan
) -> None:
    for address in ("local", "auto"):
        list(RayEngine(address)(parts, plan))
    assert ["include_dashboard" in how for how in ray.begun] == [True, False]


def test_without_ray_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, parts: list[Part], plan: ScoringPlan
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(BadInputError, match=r"pip install 'foldin\[ray\]'"):
        list(RayEngine()(parts, plan))


def test_an_actor_loads_its_model_once_and_with_the_first_part(
    monkeypatch: pytest.MonkeyPatch, parts: list[Part], plan: ScoringPlan
) -> None:
    made: list[Scorer] = []

    def counted(plan: ScoringPlan) -> Scorer:
        made.append(Scorer(plan))
        return made[-1]

    monkeypatch.setattr("training.scoring.ray_engine.Scorer", counted)
    actor = PartScorer(plan, str(parts[0].folder))
    assert not made
    for part in parts:
        actor({"index": np.array([part.index]), "users": np.array([part.users])})
    assert len(made) == 1
