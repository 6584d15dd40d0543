"""Users are read out of files in any form and order, each once, as many as there are."""

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import BadInputError
from training.scoring.reader import read_users

LOG = pl.DataFrame(
    {
        "user_id": ["007", "b", "007", "c", "b", "007"],
        "item_id": ["1", "2", "3", "1", "1", "2"],
        "rating": [5.0, 4.0, 1.5, 2.0, 3.0, 4.0],
    }
)
GATHERED = {"007": ["1", "3", "2"], "b": ["2", "1"], "c": ["1"]}


def read(
    source: Path, folder: Path, renamed: Mapping[str, str] | None = None, bucket_rows: int = 100
) -> pl.DataFrame:
    folder.mkdir(exist_ok=True)
    return pl.concat(read_users(source, renamed or {}, folder, bucket_rows))


def items_of(found: pl.DataFrame) -> dict[str, list[str]]:
    return dict(zip(found["user_id"].to_list(), found["item_ids"].to_list(), strict=True))


@pytest.mark.parametrize(
    "name", ["l.csv", "l.tsv", "l.csv.gz", "l.jsonl", "l.parquet", "l[1].jsonl"]
)
def test_a_log_of_any_kind_becomes_a_row_a_user(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(LOG.write_csv().encode()))
    elif name.endswith("parquet"):
        LOG.write_parquet(path)
    elif name.endswith("jsonl"):
        path.write_text(LOG.write_ndjson())
    else:
        path.write_text(LOG.write_csv(separator="\t" if name.endswith("tsv") else ","))
    found = read(path, tmp_path / "aside")
    assert items_of(found) == GATHERED
    assert list(items_of(found)) == list(GATHERED)  # the order of first rows
    assert found["ratings"].to_list() == [[5.0, 1.5, 4.0], [4.0, 3.0], [2.0]]


@given(rows=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), min_size=1, max_size=200))
def test_many_buckets_give_what_memory_would(
    rows: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
    log.write_parquet(folder / "log.parquet")
    found = read(folder / "log.parquet", folder / "aside", bucket_rows=10)
    whole = log.cast(pl.String).group_by("user_id", maintain_order=True).agg("item_id")
    assert found["user_id"].to_list() == whole["user_id"].to_list()
    assert found["item_ids"].to_list() == whole["item_id"].to_list()


def test_many_users_are_read_in_ranges_that_lose_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.scoring.gathering.RANGE_USERS", 64)
    generator = np.random.default_rng(1)
    log = pl.DataFrame(generator.integers(0, 900, (4000, 2)), schema=["user_id", "item_id"])
    log.write_parquet(tmp_path / "log.parquet")
    frames = list(read_users(tmp_path / "log.parquet", {}, tmp_path, bucket_rows=500))
    whole = log.cast(pl.String).group_by("user_id", maintain_order=True).agg("item_id")
    found = pl.concat(frames)
    assert len(frames) > 8
    assert max(frame.height for frame in frames) < 4 * 64
    assert found["user_id"].to_list() == whole["user_id"].to_list()
    assert found["item_ids"].to_list() == whole["item_id"].to_list()


def test_a_log_in_several_files_is_one_log(tmp_path: Path) -> None:
    LOG.head(2).write_parquet(tmp_path / "1.parquet")
    LOG.tail(4).write_parquet(tmp_path / "2.parquet")
    assert items_of(read(tmp_path, tmp_path / "aside")) == GATHERED


def test_rows_of_users_come_as_they_are_a_user_twice_as_well(tmp_path: Path) -> None:
    rows = [{"uid": 1, "seen": ["a"]}, {"uid": 2, "seen": []}, {"uid": 1, "seen": ["b"]}]
    pl.DataFrame(rows[:2]).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame(rows[2:]).write_parquet(tmp_path / "2.parquet")
    found = read(tmp_path, tmp_path / "aside", {"user_id": "uid", "history": "seen"})
    assert found["user_id"].to_list() == ["1", "2", "1"]
    assert found["item_ids"].to_list() == [["a"], [], ["b"]]


def test_a_bad_row_is_named_by_its_file_and_its_number_there(tmp_path: Path) -> None:
    LOG.write_csv(tmp_path / "1.csv")
    (tmp_path / "2.csv").write_text("user_id,item_id,rating\nb,1,4\nb,2,many\n")
    with pytest.raises(BadInputError, match=r"2\.csv: data row 2 .*'rating': a value is no number"):
        read(tmp_path / "*.csv", tmp_path / "aside", bucket_rows=2)


def test_a_log_with_no_row_gives_no_user(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("user_id,item_id\n")
    assert list(read_users(tmp_path / "l.csv", {}, tmp_path)) == []


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "user,item\n1,2\n", "no column 'user_id' and no 'item_id' (of a log) or "),
        (
            "a.csv",
            "user,item\n1,2\n",
            "user, item; say which is which with --columns user_id=NAME,",
        ),
        ("a.csv", "user_id\n1\n", "a.csv: no column 'item_id' (of a log) or 'history' (a list); "),
        ("a.jsonl", '{"user_id": 1, "item_id": 2, "history": [1]}\n', "leave one of them out"),
        (
            "a.csv",
            "t,user_id,item_id\na,1,2\nb,c,1,2\n",
            "a.csv: data row 2 (counted from 1) has 4",
        ),
        ("a.jsonl", '{"user_id": 1, "history": [1]}\n{"user_id": 2, "hi\n', "data row 2 (counted"),
        ("a.jsonl", "not json\n", "data row 1 (counted from 1) is no JSON"),
        ("a.jsonl", "\n \n", "nothing but blank lines"),
        (
            "a.jsonl",
            '{"user_id": 1, "history": [{"item_id": 1, "rating": "x"}]}\n',
            "'history': numbers are wanted, 'rating' of its entries holds",
        ),
        ("a.parquet", "PAR1", "a.parquet: cannot be read"),
        ("a.csv", "", "the file is empty"),
        ("a.xlsx", "x", "unknown kind of file"),
        ("a.jsonl", '{"user_id": 1, "history": [{"item_id": 1}, "b"]}\n', "write all of a file"),
        ("a.csv", "user_id,history\n1,a b\n", "lists of items are wanted"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    name: str, content: str, problem: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInputError) as error:
        read(tmp_path / name, tmp_path / "aside")
    assert problem in str(error.value)
    assert name in str(error.value)


def test_a_name_in_columns_that_means_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id\n1,2\n")
    with pytest.raises(BadInputError, match="'title' is no column"):
        read_users(tmp_path / "a.csv", {"title": "t"}, tmp_path)
    with pytest.raises(BadInputError, match=r"no column 'stars'; .* --columns rating=NAME$"):
        read_users(tmp_path / "a.csv", {"rating": "stars"}, tmp_path)


def test_files_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    LOG.write_csv(tmp_path / "1.csv")
    LOG.drop("rating").write_csv(tmp_path / "2.csv")
    with pytest.raises(BadInputError, match="only one has a column 'rating'"):
        read_users(tmp_path / "*.csv", {}, tmp_path)
    LOG.write_parquet(tmp_path / "3.parquet")
    with pytest.raises(BadInputError, match="numbers in one, text in the other"):
        list(read_users(tmp_path / "[13].*", {}, tmp_path))
