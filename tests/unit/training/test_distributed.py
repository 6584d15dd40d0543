"""Two real processes: what they say to each other, and that they train what one process trains.

One of them is the process of the tests; the other runs a scenario of this file beside it.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from torch import distributed
from torch._C._distributed_c10d import TCPStore

from service.catalog import Catalog
from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.data.split import HeldOut, Split
from training.distributed import World
from training.errors import BadInputError, ProcessLostError, TrainingDivergedError
from training.experiment import take_part
from training.fitting import fit
from training.loop import Resumable, TrainingResult, train
from training.state import STATE_FILE, EpochReport
from training.task import RankingTask
from training.torchrun import joined

ROOT = Path(__file__).parents[3]
ENDS_S = 60.0
NUM_ITEMS = 45
SMALL = {"batch_size": 40, "epochs": 4, "learning_rate": 0.01, "threads": 1, "device": "cpu"}
SHAPES: dict[str, dict[str, Any]] = {
    "multvae": {"latent_dim": 8, "hidden_dims": [24]},
    "recvae": {"latent_dim": 8, "hidden_dim": 24},
    "cdae": {"latent_dim": 8},
    "dae": {"latent_dim": 8, "hidden_dims": [24], "noise": "salt_and_pepper"},
    "multdae": {"latent_dim": 8, "negatives": 30},
    "elsa": {"latent_dim": 8},
}


class Silent:
    def __init__(self, stop_after: int = -1, wish: Callable[[], None] = lambda: None) -> None:
        self._stop_after, self._wish = stop_after, wish

    def on_step(self, users: float) -> None:
        del users

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        del best_epoch
        if report.epoch == self._stop_after:
            self._wish()


def split() -> Split:
    """Give 150 users of one of three tastes, and 31 held-out ones: an odd number for two."""
    generator = np.random.default_rng(5)

    def rows(num_users: int) -> csr_array:
        matrix = np.zeros((num_users, NUM_ITEMS), dtype=np.float32)
        for user in range(num_users):
            matrix[user, user % 3 * 15 + generator.choice(15, 10, replace=False)] = 1
        return csr_array(matrix)

    def held_out(num_users: int) -> HeldOut:
        whole = rows(num_users).toarray()
        chosen = generator.random(whole.shape) < 0.3
        users = tuple(f"h{user:02}" for user in range(num_users))
        return HeldOut(
            csr_array(whole * ~chosen), csr_array(whole * chosen), users, np.full(num_users, -1)
        )

    items = tuple(f"i{item}" for item in range(NUM_ITEMS))
    users = tuple(f"t{user}" for user in range(150))
    return Split("strong", rows(150), users, items, held_out(31), held_out(3))


def whole_dataset() -> Dataset:
    parts = split()
    size = len(parts.item_ids)
    popularity_I = np.bincount(parts.train.indices, minlength=size)
    catalog = Catalog(parts.item_ids, ("",) * size, ((),) * size, popularity_I)
    return Dataset("planted", parts, catalog, 4.0, "fingerprint", ())


def small_config() -> TrainingConfig:
    return TrainingConfig.of({"model": "multvae", **SHAPES["multvae"], **SMALL})


def run(world: World, model: str, folder: Path | None = None, **settings: Any) -> TrainingResult:  # noqa: ANN401 - of a config
    resume, stop_after = settings.pop("resume", False), settings.pop("stop_after", -1)
    resumable = Resumable(folder, "run", resume) if folder else None

    def wish() -> None:
        world.wish.to_stop = True

    config = TrainingConfig.of({"model": model, **SHAPES[model], **SMALL, **settings})
    task = RankingTask(split(), world)
    return train(config, task, Silent(stop_after, wish), resumable, world)


# --- what the two processes do, by name ------------------------------------------------------


def speak(world: World, folder: Path) -> object:
    (folder / f"before {world.rank}").touch()
    with world.in_turn():
        assert (folder / "first was here").exists() != world.is_first
        (folder / "first was here").touch()
    figures = world.gathered((world.rank, 0.1))
    world.refuse_differences("abcdef0123456789", "the data")
    return figures, world.totals((world.rank + 1, 2)), world.gathered_by_name({"a": world.rank})


def copy(world: World, folder: Path) -> object:
    with world.copied(folder / "state", wanted=True) as there:
        return (there / "state").read_bytes(), there == folder


def lack(world: World, folder: Path) -> object:
    with world.copied(folder / "none", wanted=True) as there:
        return list(there.iterdir())


def learn(world: World, folder: Path) -> object:
    return [run(world, model) for model in (folder / "models").read_text().split()]


def learn_by_pieces(world: World, folder: Path) -> object:
    own = folder / str(world.rank)
    stop_after = 2 if world.rank else -1  # the second hears Ctrl-C, and both stop
    first = run(world, "recvae", own, stop_after=stop_after)
    world.wish.to_stop = False
    assert [path.name for path in own.glob("*")] == ([STATE_FILE] if world.is_first else [])
    with world.copied(own / STATE_FILE, wanted=True) as there:
        return first, run(world, "recvae", there, resume=True)


def diverge(world: World, folder: Path) -> object:
    del folder
    return run(world, "multvae", learning_rate=1e38)


def go_on_alone(world: World, folder: Path) -> object:
    return take_part(whole_dataset(), small_config(), folder, world, resume=world.is_first)


def go_on_from_nothing(world: World, folder: Path) -> object:
    return take_part(whole_dataset(), small_config(), folder, world, resume=True)


def vanish(world: World, folder: Path) -> object:
    del folder
    if not world.is_first:
        os._exit(9)
    return world.gathered((1,))


def second(scenario: Callable[[World, Path], object], folder: Path) -> None:
    """Be the other process."""
    with joined() as world:
        scenario(world, folder)


# --- the two of them -------------------------------------------------------------------------


def environment(rank: int, store: TCPStore) -> dict[str, str]:
    """Give what torchrun tells a process; the store is torchrun's own and outlives both."""
    return {
        "TORCHELASTIC_RUN_ID": "test",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "OMP_NUM_THREADS": "1",
    }


Meeting = Callable[..., Any]


@pytest.fixture
def meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meeting]:
    """Run a scenario here, as the process of a rank, and in another process beside it."""
    peers: list[subprocess.Popen[str]] = []
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def met(scenario: Callable[[World, Path], object], rank: int = 0) -> object:
        known = environment(rank, store)
        for name, value in known.items():
            monkeypatch.setenv(name, value)
        code = (
            f"import pathlib, runpy; names = runpy.run_path({__file__!r}); "
            f"names['second'](names[{scenario.__name__!r}], pathlib.Path({str(tmp_path)!r}))"
        )
        theirs = {**os.environ, "RANK": str(1 - rank), "LOCAL_RANK": str(1 - rank)}
        peers.append(
            subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=ROOT,
                env=theirs,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        with joined() as world:
            return scenario(world, tmp_path)

    yield met
    if distributed.is_initialized():
        distributed.destroy_process_group()
    for peer in peers:
        peer.communicate(timeout=ENDS_S)


def test_processes_hear_each_others_figures_in_the_order_of_their_ranks(meet: Meeting) -> None:
    figures, totals, named = meet(speak)
    assert figures == [[0, 0.1], [1, 0.1]]
    assert totals == [3, 4]
    assert named == [{"a": 0}, {"a": 1}]


def test_a_later_process_goes_through_a_block_after_the_first(meet: Meeting) -> None:
    assert meet(speak, rank=1)[0] == [[0, 0.1], [1, 0.1]]


def test_a_file_of_the_first_process_reaches_one_that_does_not_see_it(
    meet: Meeting, tmp_path: Path
) -> None:
    content = os.urandom(1000)
    (tmp_path / "state").write_bytes(content)
    assert meet(copy, rank=1) == (content, False)


def test_without_the_file_the_others_say_that_the_first_has_none(meet: Meeting) -> None:
    with pytest.raises(ProcessLostError, match="process 0 has no state"):
        meet(lack, rank=1)


def test_two_processes_train_what_one_trains(meet: Meeting, tmp_path: Path) -> None:
    models = sorted(SHAPES)
    (tmp_path / "models").write_text(" ".join(models))
    for model, together in zip(models, meet(learn), strict=True):
        assert_alike(run(World.alone(), model), together, model)


def test_ctrl_c_of_one_process_stops_all_and_the_rest_is_learned_to_the_same_end(
    meet: Meeting,
) -> None:
    part, rest = meet(learn_by_pieces)
    assert part.interrupted
    assert not rest.interrupted
    assert_alike(run(World.alone(), "recvae"), rest, "recvae")


def test_a_loss_that_is_not_finite_ends_all_processes_and_each_says_which_it_is(
    meet: Meeting,
) -> None:
    with pytest.raises(TrainingDivergedError, match=r"^process 1: .* is no longer finite|loss is"):
        meet(diverge, rank=1)


def test_one_process_that_goes_on_while_the_other_begins_anew_is_refused(meet: Meeting) -> None:
    with pytest.raises(
        BadInputError, match=r"\(--resume\) of process 1 are not those of process 0"
    ):
        meet(go_on_alone)


def test_why_a_process_has_ended_is_said_by_the_others_too(meet: Meeting) -> None:
    reason = r"^process 0 has ended: nothing to resume: .*; run without --resume to begin anew$"
    with pytest.raises(ProcessLostError, match=reason):
        meet(go_on_from_nothing, rank=1)


def test_a_lost_process_is_one_line_that_says_how_to_go_on(meet: Meeting) -> None:
    with pytest.raises(ProcessLostError, match=r"gone or out of reach \(.*--resume goes on"):
        meet(vanish)


def assert_alike(one: TrainingResult, two: TrainingResult, model: str) -> None:
    """Compare curves of losses within 1e-4, and figures within what float64 sums differ by."""
    assert len(one.reports) == len(two.reports)
    for alone, together in zip(one.reports, two.reports, strict=True):
        assert abs(alone.loss - together.loss) < 1e-4, model
        assert abs(alone.regularizer - together.regularizer) < 1e-4, model
        assert_near(alone.valid, together.valid)
        assert alone.beta == together.beta
    assert one.best_epoch == two.best_epoch
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(value, two.model.state_dict()[name], rtol=1e-3, atol=1e-4)


def assert_near(one: Mapping[str, float], two: Mapping[str, float]) -> None:
    assert one == pytest.approx(two, abs=1e-9)


# --- a world of one --------------------------------------------------------------------------


def test_a_world_of_one_needs_nobody(tmp_path: Path) -> None:
    world = World.alone()
    assert world.is_first
    assert world.gathered((1, 2)) == [[1, 2]]
    assert world.totals((1, 2)) == [1, 2]
    world.refuse_differences("ab" * 32, "the data")
    module = torch.nn.Linear(1, 1)
    assert world.parallel(module) is module
    with world.in_turn(), world.copied(tmp_path / "state", wanted=True) as folder:
        assert folder == tmp_path


@pytest.mark.parametrize("model", ["ease", "edlae", "hybrid"])
def test_what_one_process_fits_is_refused_to_several(model: str, planted: Dataset) -> None:
    with pytest.raises(BadInputError, match=f"{model} is fitted by one process"):
        fit(TrainingConfig.of({"model": model}), planted, Silent(), None, World(0, 2))


@given(count=st.integers(0, 1000), size=st.integers(1, 20))
def test_shards_cover_all_users_once_and_differ_by_one_at_most(count: int, size: int) -> None:
    shards = [World(rank, size).shard(count) for rank in range(size)]
    assert [user for shard in shards for user in range(count)[shard]] == list(range(count))
    lengths = {shard.stop - shard.start for shard in shards}
    assert max(lengths) - min(lengths) <= 1


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with joined() as world:
        assert world.size == 1
