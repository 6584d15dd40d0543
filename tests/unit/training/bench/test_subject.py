"""What is measured: a bundle that is there, a synthetic one, a log's users."""

from pathlib import Path

import polars as pl
import pytest

from training.bench.subject import Subject, Users, drawn_histories, opened
from training.bench.synthetic import Shape
from training.errors import BadInputError


def write_log(path: Path, prefix: str) -> str:
    rows = [
        {"user_id": f"u{user}", "item_id": f"{prefix}{(user * 7 + place * 3) % 200}"}
        for user in range(60)
        for place in range(12)
    ]
    pl.DataFrame(rows).write_parquet(path)
    return str(path)


def test_a_synthetic_bundle_is_gone_afterwards() -> None:
    with opened(None, Shape(250, 8, 4), seed=0) as subject:
        assert subject.path.is_dir()
        assert subject.describe()["synthetic"]
        assert [subject.describe()[name] for name in ("items", "hidden", "latent")] == [250, 8, 4]
    assert not subject.path.exists()


def test_a_bundle_that_is_there_stays_there(subject: Subject) -> None:
    with opened(subject.path, Shape(), seed=0) as again:
        assert again.loaded.digest == subject.loaded.digest
        assert not again.is_synthetic
    assert subject.path.is_dir()


def test_users_are_drawn_and_the_same_for_the_same_seed(subject: Subject) -> None:
    first, again, other = (
        drawn_histories(subject.loaded, Users(5, length=9, seed=seed)) for seed in (1, 1, 2)
    )
    assert [len(row) for row in first] == [9] * 5
    assert [r.item_index_N.tolist() for r in first] == [r.item_index_N.tolist() for r in again]
    assert [r.item_index_N.tolist() for r in first] != [r.item_index_N.tolist() for r in other]


def test_users_come_from_a_log(subject: Subject, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.parquet", "i")
    rows = drawn_histories(subject.loaded, Users(4, log=log))
    assert len(rows) == 4
    assert all(0 < len(row) <= 12 for row in rows)


def test_a_log_of_other_items_is_refused(subject: Subject, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.parquet", "other")
    with pytest.raises(BadInputError, match="no test user"):
        drawn_histories(subject.loaded, Users(4, log=log))
