"""Whatever happens to a trainer: what was there stays whole, and the rest can be had again.

Every run is the command, in a process of its own. Deaths are SIGKILL at a change to the file
system that is named, or the end of the process in the midst of a write.
"""

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from service import canaries, checkpoint
from service.publication import POINTER
from service.ranker import ModelRanker
from training.output import LOCK_FILE
from training.state import STAGING, STATE_FILE

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0
NUM_USERS, NUM_ITEMS = 240, 48
KILLED, TORN = -signal.SIGKILL, -signal.SIGXFSZ
SHAPE = ("--set", "latent_dim=8", "--batch-size", "40", "--threads", "1", "--device", "cpu")
EPOCHS = ("--epochs", "6")
LONG = ("--epochs", "30", "--set", "patience=30")
# What is written when, by the pattern of the change; each is the worst moment of its kind.
WORST_MOMENTS = {
    "before the first state": ("os.mkdir .*training-state", 1, False),
    "in the midst of a state": ("os.mkdir .*training-state", 1, True),
    "between a state and its place": ("os.rename .*training-state", 1, False),
    "before the bundle": (r"os.mkdir .*Z-\w{8}\.\d+$", 1, False),
    "in the midst of the weights": ("open .*model.safetensors", 1, True),
    "between the bundle and its place": (r"os.rename .*Z-\w{8}\.\d+$", 1, False),
    "between the bundle and CURRENT": (r"os.rename .*\.CURRENT", 1, False),
    # The first change of this kind is at the start, when states of earlier runs are forgotten.
    "before the state is forgotten": (r"os.remove .*training-state", 2, False),
}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit code, or minus the signal; what it said on both streams."""

    code: int
    output: str

    @property
    def error(self) -> str:
        """The one line of an error; several, or a traceback, fail the test."""
        lines = [line for line in self.output.splitlines() if line.startswith("foldin: ")]
        assert "Traceback" not in self.output, self.output
        assert len(lines) == 1, self.output
        assert self.output.endswith(lines[0] + "\n"), self.output
        return lines[0]


class Trainer:
    """Starts commands by forking a process that has all modules imported."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._outputs: dict[int, Path] = {}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forked_trainer.py"))],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, *arguments: object, **how: object) -> int:
        """Start a command; ``change``, ``die_at`` and ``torn`` say when it shall die."""
        self._count += 1
        output = self._folder / f"output-{self._count}"
        order = {"arguments": [str(a) for a in arguments], "output": str(output), **how}
        process = int(self._ask(order)["process"])
        self._outputs[process] = output
        return process

    def output(self, process: int) -> str:
        return self._outputs[process].read_text() if self._outputs[process].exists() else ""

    def wait(self, process: int) -> Ended:
        return Ended(self._ask({"process": process})["code"], self.output(process))

    def run(self, *arguments: object, **how: object) -> Ended:
        return self.wait(self.start(*arguments, **how))

    def end(self) -> None:
        self._process.communicate(timeout=WAIT_S)

    def _ask(self, order: dict[str, Any]) -> dict[str, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, int] = json.loads(self._process.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    started = Trainer(tmp_path_factory.mktemp("outputs"))
    yield started
    started.end()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write who took what: users like one of three blocks of items."""
    generator = np.random.default_rng(3)
    block = NUM_ITEMS // 3
    rows = [
        (f"u{user}", f"i{user % 3 * block + item}")
        for user in range(NUM_USERS)
        for item in generator.choice(block, 9, replace=False)
    ]
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row").write_parquet(path)
    return path


Command = Callable[..., list[object]]


@pytest.fixture(scope="module")
def command(log: Path) -> Command:
    """Give the arguments of a run: ``command(out, "cdae", "--resume")``."""

    def arguments(out: Path, model: str = "cdae", *more: str) -> list[object]:
        shape = SHAPE[2:] if model == "hybrid" else SHAPE
        return ["train", log, "--model", model, "--out", out, *shape, *EPOCHS, *more]

    return arguments


@pytest.fixture(scope="module")
def earlier(trainer: Trainer, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with the bundle of an earlier run, of another seed; tests copy it."""
    out = tmp_path_factory.mktemp("earlier") / "models"
    assert trainer.run(*command(out), "--seed", 9).code == 0
    return out


@pytest.fixture
def out(earlier: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(earlier, tmp_path / "models"))


@pytest.fixture(scope="module")
def whole(
    trainer: Trainer, command: Command, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., bytes]:
    """Give the weights of a run that nothing interrupted, by its model and options."""

    @cache
    def weights_of(model: str, *more: str) -> bytes:
        out = tmp_path_factory.mktemp("whole")
        assert trainer.run(*command(out, model, *more)).code == 0
        return weights(out)

    return weights_of


def weights(out: Path) -> bytes:
    return (checkpoint.resolve(out) / checkpoint.WEIGHTS).read_bytes()


def verify(out: Path) -> str:
    """Do as ``foldin verify`` does; give the version that CURRENT names."""
    loaded = checkpoint.load(out)
    canaries.replay(ModelRanker(loaded.model), loaded.canaries)
    return loaded.version


def names(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


def refuse_litter(out: Path) -> None:
    """Nothing but whole bundles and the pointer is there."""
    for name in names(out) - {POINTER}:
        assert not name.startswith("."), name
        checkpoint.load(out / name)


def go_on(trainer: Trainer, command: Command, out: Path, model: str = "cdae") -> None:
    """Resume a run; begin anew where no state was kept."""
    resumed = trainer.run(*command(out, model, "--resume"))
    if resumed.code == 2:
        assert "nothing to resume" in resumed.error
        resumed = trainer.run(*command(out, model))
    assert resumed.code == 0, resumed.output


@pytest.mark.parametrize("moment", WORST_MOMENTS)
def test_a_run_that_was_killed_at_the_worst_moment_resumes_to_the_same_weights(
    trainer: Trainer,
    command: Command,
    out: Path,
    whole: Callable[..., bytes],
    moment: str,
) -> None:
    change, die_at, torn = WORST_MOMENTS[moment]
    before = verify(out)
    died = trainer.run(*command(out), change=change, die_at=die_at, torn=torn)
    assert died.code == (TORN if torn else KILLED), died.output
    assert (verify(out) == before) == (moment != "before the state is forgotten")
    go_on(trainer, command, out)
    assert verify(out) != before
    assert weights(out) == whole("cdae")
    refuse_litter(out)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cdae", "multvae", "hybrid"])
def test_a_run_may_be_killed_at_any_change_it_makes(
    trainer: Trainer, command: Command, out: Path, whole: Callable[..., bytes], model: str
) -> None:
    """One death at the first change of a run, one at the second, and so on to the last.

    All of it twice: dead before the change, and dead in the first write after it.
    """
    kept = out.rename(out.with_name("kept"))
    deaths = 0
    for die_at, torn in product(range(1, 1000), (False, True)):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(kept, out)
        died = trainer.run(*command(out, model), change=str(out), die_at=die_at, torn=torn)
        verify(out)
        if died.code == 0 and not torn:
            break
        assert died.code in ({0, TORN} if torn else {KILLED}), died.output
        deaths += died.code != 0
        go_on(trainer, command, out, model)
        verify(out)
        assert weights(out) == whole(model)
        refuse_litter(out)
    sys.stderr.write(f"{model}: {deaths} deaths, all resumed to equal weights\n")
    assert deaths > len(WORST_MOMENTS)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cdae", "multvae", "hybrid"])
def test_a_run_may_be_killed_again_and_again_at_random_times(
    trainer: Trainer, command: Command, out: Path, whole: Callable[..., bytes], model: str
) -> None:
    """Every run and every resumed one is killed, until one comes to its end; three times over."""
    chance, deaths = random.Random(11), 0
    whole(model)
    started = time.monotonic()
    assert trainer.run(*command(out, model)).code == 0
    whole_s = time.monotonic() - started
    for _ in range(3):
        ended = Ended(KILLED, "")
        while ended.code == KILLED:
            states = [path for path in out.rglob(STATE_FILE) if path.parent.name != STAGING]
            more = ["--resume"] if states else []
            process = trainer.start(*command(out, model, *more))
            time.sleep(chance.uniform(0, 1.1 * whole_s))
            os.kill(process, signal.SIGKILL)  # one that has ended is there until it is waited for
            ended = trainer.wait(process)
            deaths += ended.code == KILLED
            verify(out)
        assert ended.code == 0, ended.output
        assert weights(out) == whole(model)
        refuse_litter(out)
    sys.stderr.write(f"{model}: {deaths} deaths at random times, all weights equal\n")
    assert deaths


@pytest.mark.slow
def test_the_command_line_itself_can_be_killed_and_resumed(
    trainer: Trainer, command: Command, out: Path, whole: Callable[..., bytes]
) -> None:
    """No fork: ``python -m training``, killed from outside as soon as it has an epoch."""
    arguments = [str(argument) for argument in command(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert any(line.startswith("epoch 1/") for line in process.stdout)
        process.kill()
    verify(out)
    go_on(trainer, command, out)
    assert weights(out) == whole("cdae")
    refuse_litter(out)


def test_after_ctrl_c_the_best_so_far_is_there_and_the_run_goes_on(
    trainer: Trainer, command: Command, out: Path, whole: Callable[..., bytes]
) -> None:
    before = verify(out)
    process = trainer.start(*command(out, "cdae", *LONG))
    wait_until(lambda: "epoch 3/" in trainer.output(process))
    os.kill(process, signal.SIGINT)
    ended = trainer.wait(process)
    assert ended.code == 1, ended.output
    assert "interrupted" in ended.output
    assert "--resume" in ended.output
    assert verify(out) != before
    resumed = trainer.run(*command(out, "cdae", *LONG, "--resume"))
    assert resumed.code == 0, resumed.output
    assert weights(out) == whole("cdae", *LONG)
    refuse_litter(out)


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def test_a_second_run_is_refused_and_the_first_is_not_disturbed(
    trainer: Trainer, command: Command, out: Path, whole: Callable[..., bytes]
) -> None:
    first = trainer.start(*command(out))
    wait_until(lambda: (out / LOCK_FILE).exists() or "epoch" in trainer.output(first))
    os.kill(first, signal.SIGSTOP)
    for model in ("cdae", "multvae"):
        second = trainer.run(*command(out, model))
        assert second.code == 2
        assert f"another run (process {first})" in second.error
    os.kill(first, signal.SIGCONT)
    assert trainer.wait(first).code == 0
    verify(out)
    assert weights(out) == whole("cdae")
    refuse_litter(out)


def test_the_lock_of_a_killed_run_binds_nobody(
    trainer: Trainer, command: Command, out: Path
) -> None:
    died = trainer.run(*command(out), change="os.rename", die_at=1, torn=False)
    assert died.code == KILLED
    assert LOCK_FILE in names(out)
    assert trainer.run(*command(out, "multvae")).code == 0
    refuse_litter(out)


@pytest.fixture
def disk(out: Path) -> Iterator[Callable[[int], None]]:
    """Put the model directory on a disk of its own; ``disk(bytes)`` sets its size.

    The earlier bundle is on it.
    """
    kept = out.rename(out.with_name("kept"))
    out.mkdir()
    mount("-t", "tmpfs", "-o", "size=4m", "none", str(out))
    shutil.copytree(kept, out, dirs_exist_ok=True)
    yield lambda size_bytes: mount("-o", f"remount,size={size_bytes}", str(out))
    subprocess.run(["umount", str(out)], check=True)


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


def used_bytes(out: Path) -> int:
    state = os.statvfs(out)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def test_a_disk_that_is_full_from_the_start_is_told_before_the_training(
    trainer: Trainer, command: Command, out: Path, disk: Callable[[int], None]
) -> None:
    before, listed = verify(out), names(out)
    disk(used_bytes(out))
    ended = trainer.run(*command(out))
    assert ended.code == 2
    assert "No space left on device" in ended.error
    assert str(out) in ended.error
    assert "epoch" not in ended.output
    assert (verify(out), names(out)) == (before, listed)


def test_a_disk_that_fills_up_keeps_the_state_before_and_the_run_goes_on(
    trainer: Trainer,
    command: Command,
    out: Path,
    disk: Callable[[int], None],
    whole: Callable[..., bytes],
) -> None:
    """There is room for one state and not for the second beside it."""
    before, page_bytes = verify(out), os.statvfs(out).f_frsize
    state_bytes = state_size(trainer, command, out, *LONG)
    disk(used_bytes(out) + state_bytes + 8 * page_bytes)
    ended = trainer.run(*command(out, "cdae", *LONG))
    assert ended.code == 2, ended.output
    assert "No space left on device" in ended.error
    assert "--resume goes on" in ended.error
    assert verify(out) == before
    assert names(out) == {POINTER, before, STATE_FILE}
    disk(1 << 22)
    assert trainer.run(*command(out, "cdae", *LONG, "--resume")).code == 0
    assert weights(out) == whole("cdae", *LONG)
    refuse_litter(out)


def state_size(trainer: Trainer, command: Command, out: Path, *more: str) -> int:
    """Give the bytes of a state, by a run that is killed once it has written one."""
    trainer.run(*command(out, "cdae", *more), change="os.mkdir .*-state", die_at=2, torn=False)
    size_bytes = (out / STATE_FILE).stat().st_size
    shutil.rmtree(out / ".training-state.new", ignore_errors=True)
    for name in (STATE_FILE, LOCK_FILE):
        (out / name).unlink(missing_ok=True)
    return size_bytes


def test_a_disk_without_room_for_the_bundle_keeps_the_old_one_and_the_state(
    trainer: Trainer,
    command: Command,
    out: Path,
    disk: Callable[[int], None],
    whole: Callable[..., bytes],
) -> None:
    before = verify(out)
    died = trainer.run(*command(out), change=r"os.mkdir .*Z-\w{8}\.\d+$", die_at=1, torn=False)
    assert died.code == KILLED
    disk(used_bytes(out) + 2 * os.statvfs(out).f_frsize)
    ended = trainer.run(*command(out, "cdae", "--resume"))
    assert ended.code == 2, ended.output
    assert "No space left on device" in ended.error
    assert names(out) == {POINTER, before, STATE_FILE}
    assert verify(out) == before
    disk(1 << 22)
    assert trainer.run(*command(out, "cdae", "--resume")).code == 0
    assert weights(out) == whole("cdae")
    refuse_litter(out)


def test_a_limit_on_the_size_of_files_is_like_a_full_disk(
    trainer: Trainer, command: Command, out: Path
) -> None:
    """Needs no mount: the kernel refuses to write beyond the limit."""
    before, listed = verify(out), names(out)
    ended = trainer.run(*command(out), most_bytes=3000)
    assert ended.code == 2
    assert "File too large" in ended.error
    assert "no state was kept" in ended.error
    assert (verify(out), names(out)) == (before, listed)


def test_a_read_only_folder_is_told_before_the_data_is_read(
    trainer: Trainer, command: Command, out: Path, disk: Callable[[int], None]
) -> None:
    del disk
    before = verify(out)
    mount("-o", "remount,ro", str(out))
    for folder in (out, out / "below"):
        ended = trainer.run(*command(folder))
        assert ended.code == 2
        assert "cannot be written to" in ended.error
        assert "training users" not in ended.output
    assert verify(out) == before


@pytest.mark.parametrize("below", ["", "below", "far/below"])
def test_a_file_in_place_of_the_folder_is_told_before_the_training(
    trainer: Trainer, command: Command, tmp_path: Path, below: str
) -> None:
    (tmp_path / "file").write_text("mine")
    ended = trainer.run(*command(tmp_path / "file" / below))
    assert ended.code == 2
    assert str(tmp_path / "file") in ended.error
    assert "epoch" not in ended.output
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("steps", ["one", "many"])
def test_a_run_that_diverges_exports_nothing(
    trainer: Trainer, command: Command, out: Path, steps: str
) -> None:
    """With one step the loss is finite, and the weights are not worth anything all the same."""
    before = verify(out)
    absurd = ["--set", "learning_rate=1e38"]
    if steps == "one":
        absurd += ["--epochs", "1", "--batch-size", "1000"]
    ended = trainer.run(*command(out, "multvae", *absurd))
    assert ended.code == 1, ended.output
    assert "learning_rate" in ended.error
    assert verify(out) == before
    assert names(out) <= {POINTER, before, STATE_FILE}


def rows(*bad: str) -> bytes:
    """Write a log of ratings with these rows at its end, from data row 6 on."""
    good = [f"{user},{item},4.5,{1000 + user}" for user, item in enumerate(range(5))]
    return "\n".join(["user_id,item_id,rating,timestamp", *good, *bad, ""]).encode()


def parquet(folder: Path, **columns: list[object]) -> bytes:
    path = folder / "made.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return path.read_bytes()


def cut(content: bytes, share: float = 0.5) -> bytes:
    return content[: int(len(content) * share)]


def flipped(content: bytes) -> bytes:
    """Change one byte of the packed data."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]


IDS: list[object] = [1, 2, 3]
MANY: list[object] = [f"id{number}" for number in range(500)]
BAD_LOGS: dict[str, tuple[str, Callable[[Path], bytes], tuple[str, ...]]] = {
    "empty csv": ("log.csv", lambda _: b"", ("is empty",)),
    "empty parquet": ("log.parquet", lambda _: b"", ("is empty",)),
    "empty gz": ("log.csv.gz", lambda _: b"", ("is empty",)),
    "cut parquet": (
        "log.parquet",
        lambda folder: cut(parquet(folder, user_id=MANY, item_id=MANY)),
        ("no whole Parquet file",),
    ),
    "cut gz": (
        "log.csv.gz",
        lambda _: cut(gzip.compress(rows() * 50), 0.9),
        ("no whole gzip", "cut short"),
    ),
    "flipped gz": ("log.csv.gz", lambda _: flipped(gzip.compress(rows() * 50)), ("no whole gzip",)),
    "cut csv": ("log.csv", lambda _: rows("7,8")[:-1], ("row 6", "'rating'")),
    "cut csv amid an id": ("log.csv", lambda _: rows("7,")[:-1], ("row 6", "'item_id'")),
    "cut quote": ("log.csv", lambda _: rows('7,"8')[:-1], ("log.csv",)),
    "cut json": (
        "log.jsonl",
        lambda _: b'{"user_id": 1, "item_id": 2}\n{"user_id": 1, "it',
        ("row 2", "no JSON"),
    ),
    "nan rating": ("log.csv", lambda _: rows("7,8,nan,9"), ("row 6", "'rating'", "finite")),
    "inf rating": ("log.csv", lambda _: rows("7,8,-inf,9"), ("row 6", "'rating'", "finite")),
    "no rating": ("log.csv", lambda _: rows("7,8,,9"), ("row 6", "'rating'", "empty")),
    "nan time": ("log.csv", lambda _: rows("7,8,4,NaN"), ("row 6", "'timestamp'", "finite")),
    "inf time": ("log.csv", lambda _: rows("7,8,4,inf"), ("row 6", "'timestamp'", "finite")),
    "no time": ("log.csv", lambda _: rows("7,8,4,"), ("row 6", "'timestamp'", "empty")),
    "no user": ("log.csv", lambda _: rows(",8,4,9"), ("row 6", "'user_id'", "empty")),
    "no item": ("log.csv", lambda _: rows("7, ,4,9"), ("row 6", "'item_id'", "empty")),
    "nan user": ("log.csv", lambda _: rows("nan,8,4,9"), ("row 6", "'user_id'", "no id")),
    "inf item": ("log.csv", lambda _: rows("7,-inf,4,9"), ("row 6", "'item_id'", "no id")),
    "nan in parquet": (
        "log.parquet",
        lambda folder: parquet(folder, user_id=IDS, item_id=IDS, rating=[1.0, float("nan"), 5.0]),
        ("row 2", "'rating'", "finite"),
    ),
    "null in parquet": (
        "log.parquet",
        lambda folder: parquet(folder, user_id=[1, None, 3], item_id=IDS),
        ("row 2", "'user_id'", "empty"),
    ),
    "nan ids in parquet": (
        "log.parquet",
        lambda folder: parquet(folder, user_id=IDS, item_id=[1.0, float("nan"), 3.0]),
        ("'item_id'", "text or integers"),
    ),
}


@pytest.mark.parametrize("fault", BAD_LOGS)
def test_a_bad_log_is_one_line_that_names_the_place_and_nothing_is_written(
    trainer: Trainer, tmp_path: Path, fault: str
) -> None:
    name, make, words = BAD_LOGS[fault]
    log, out = tmp_path / name, tmp_path / "models"
    log.write_bytes(make(tmp_path))
    ended = trainer.run("train", log, "--model", "cdae", "--out", out, *SHAPE)
    assert ended.code == 2, ended.output
    for word in (str(log), *words):
        assert word in ended.error
    assert ended.output.count("\n") == 1, ended.output
    assert not out.exists()
