"""A cluster that loses actors or a machine while it scores loses no user and doubles none."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from service.checkpoint import resolve
from training.scoring.engine import score_here
from training.scoring.plan import ScoringPlan
from training.scoring.run import Users, score_users

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NUM_ITEMS = 3000
NUM_USERS = 12_000
PART_USERS = 1000
WAIT_S = 300

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="no Ray: pip install 'foldin[ray]'"
    ),
]


class Silent:
    def on_read(self, users: int) -> None: ...

    def on_scoring(self) -> None: ...

    def on_scored(self, users: int, of_users: int) -> None: ...


@pytest.fixture(scope="module")
def folder(write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, users, and the lists that one process writes for them."""
    folder = tmp_path_factory.mktemp("scoring")
    write_bundle(folder / "models", NUM_ITEMS)
    generator = np.random.default_rng(0)
    log = pl.DataFrame(
        {
            "user_id": generator.permutation(np.repeat(np.arange(NUM_USERS), 8)),
            "item_id": [
                f"i{item}" for item in generator.integers(0, NUM_ITEMS + 50, NUM_USERS * 8)
            ],
        }
    )
    log.write_parquet(folder / "users.parquet")
    users = Users(folder / "users.parquet", folder / "here.parquet", part_users=PART_USERS)
    score_users(users, ScoringPlan(resolve(folder / "models")), score_here, Silent())
    return folder


@pytest.mark.parametrize(("lost", "killed"), [("actors", 2), ("node", 0)])
def test_what_is_lost_midway_changes_no_row(lost: str, killed: int, folder: Path) -> None:
    out = folder / "out" / f"{lost}.parquet"
    done = subprocess.run(
        [
            *(sys.executable, str(HERE / "ray_cluster.py"), str(resolve(folder / "models"))),
            *(str(folder / "users.parquet"), str(out), lost),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told["wrote"]) >= 2  # an actor on either node
    assert len(told["killed"]) == killed
    here, there = pl.read_parquet(folder / "here.parquet"), pl.read_parquet(out)
    assert there["user_id"].n_unique() == there.height == NUM_USERS
    assert there.equals(here)
    assert [path.name for path in out.parent.glob(f"*{lost}*")] == [out.name]
