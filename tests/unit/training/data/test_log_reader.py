import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data import tables
from training.data.csv_blocks import csv_blocks
from training.data.interactions import InteractionLog
from training.data.log_reader import read_log
from training.errors import BadInputError


def log_of(tmp_path: Path, text: str, **columns: str) -> InteractionLog:
    path = tmp_path / "log.csv"
    path.write_text(text)
    return read_log(path, columns)


def refusal_of(tmp_path: Path, text: str, **columns: str) -> str:
    with pytest.raises(BadInputError) as refusal:
        log_of(tmp_path, text, **columns)
    message = str(refusal.value)
    assert "\n" not in message
    return message.removeprefix(f"{tmp_path / 'log.csv'}: ")


def test_a_log_has_our_columns_in_our_types(tmp_path: Path) -> None:
    log = log_of(
        tmp_path,
        "when,movieId,stars,weight,uid,split,note\n5,007,4.5,2,9,train,x\n6,7,3,1,9,test,\n",
        user_id="uid",
        item_id="movieId",
        rating="stars",
        timestamp="when",
    )
    assert log.frame.schema == {
        "user_id": pl.String,
        "item_id": pl.String,
        "rating": pl.Float64,
        "timestamp": pl.Int64,
        "weight": pl.Float64,
        "split": pl.String,
    }
    assert log.frame.rows() == [
        ("9", "007", 4.5, 5, 2.0, "train"),
        ("9", "7", 3.0, 6, 1.0, "test"),
    ]
    assert (len(log), log.num_users, log.num_items, log.merged_duplicates) == (2, 1, 2, 0)


def test_only_user_and_item_are_required(tmp_path: Path) -> None:
    log = log_of(tmp_path, "user_id,item_id\na,b\n")
    assert log.frame.columns == ["user_id", "item_id"]
    assert "rating" not in log


def test_a_missing_column_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    assert refusal_of(tmp_path, "user_id,movieId\n1,2\n") == (
        "no column 'item_id'; there are: user_id, movieId; "
        "say which one it is with --columns item_id=NAME"
    )


def test_an_unknown_name_in_the_column_mapping_is_refused(tmp_path: Path) -> None:
    assert refusal_of(tmp_path, "user_id,item_id\n1,2\n", user="user_id") == (
        "--columns: 'user' is no column of a log; "
        "there are: user_id, item_id, rating, timestamp, weight, split"
    )


def test_a_null_id_is_named_by_row_and_column(tmp_path: Path) -> None:
    assert refusal_of(tmp_path, "user_id,item_id\n1,2\n1,\n") == (
        "data row 2 (counted from 1), column 'item_id': "
        "the id is empty; fill it in or leave the row out"
    )


def test_a_rating_that_is_no_number_is_shown(tmp_path: Path) -> None:
    text = "user_id,item_id,stars\n1,2,4\n1,3,good\n"
    assert refusal_of(tmp_path, text, rating="stars") == (
        "data row 2 (counted from 1), column 'stars': 'good' is no number"
    )


@pytest.mark.parametrize("column", ["rating", "weight", "timestamp"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_number_that_is_not_finite_is_refused(tmp_path: Path, column: str, value: str) -> None:
    message = refusal_of(tmp_path, f"user_id,item_id,{column}\n1,2,{value}\n")
    assert (
        message == f"data row 1 (counted from 1), column '{column}': '{value}' is no finite number"
    )


@pytest.mark.parametrize("value", ["0", "-1", "1e-7", "1e7"])
def test_a_weight_must_leave_room_for_its_square_in_float32(tmp_path: Path, value: str) -> None:
    assert refusal_of(tmp_path, f"user_id,item_id,weight\n1,2,1\n1,3,{value}\n") == (
        f"data row 2 (counted from 1), column 'weight': '{value}' is no weight; "
        "weights are 1e-06 to 1,000,000"
    )


def test_an_empty_log_is_refused(tmp_path: Path) -> None:
    assert refusal_of(tmp_path, "user_id,item_id\n") == "the log is empty"


@pytest.mark.parametrize("value", ["dev", "Train", '""', ""])
def test_an_unknown_part_of_a_split_is_refused(tmp_path: Path, value: str) -> None:
    message = refusal_of(tmp_path, f"user_id,item_id,split\n1,2,train\n1,3,{value}\n")
    assert message.startswith("data row 2 (counted from 1), column 'split': ")
    assert message.endswith(
        "is no part of a split: train, valid, test, "
        "valid_history, valid_target, test_history, test_target"
    )


def test_weak_and_strong_parts_do_not_mix(tmp_path: Path) -> None:
    text = "user_id,item_id,split\n1,2,train\n1,3,valid\n2,3,test_target\n2,4,test\n"
    assert refusal_of(tmp_path, text) == (
        "data row 3 (counted from 1), column 'split': "
        "'test_target' and 'valid' do not go together: "
        "use train, valid, test or train, valid_history, valid_target, test_history, test_target"
    )


def test_a_pair_in_two_parts_of_the_split_is_refused(tmp_path: Path) -> None:
    text = "user_id,item_id,split\n1,2,train\n2,2,train\n2,9,train\n2,9,test\n"
    assert refusal_of(tmp_path, text) == (
        "data row 3 (counted from 1), column 'split': "
        "user '2' has item '9' in two parts of the split"
    )


def test_a_bad_row_of_a_later_file_is_counted_in_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id,split\n1,2,train\n1,3,valid\n")
    (tmp_path / "b.csv").write_text("user_id,item_id,split\n1,4,train\n1,5,test_target\n")
    with pytest.raises(BadInputError, match=r"b\.csv: data row 2 .* 'test_target' and 'valid'"):
        read_log(tmp_path / "*.csv", {})


def test_files_of_one_log_must_have_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id,rating\n1,2,3\n")
    (tmp_path / "b.csv").write_text("user_id,item_id\n1,4\n")
    with pytest.raises(BadInputError, match=r"a\.csv and .*b\.csv: only one has a column 'rating'"):
        read_log(tmp_path / "*.csv", {})


def test_files_of_one_log_must_have_the_same_type_of_ids(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": [7], "item_id": [1]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"user_id": ["007"], "item_id": [1]}).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(BadInputError, match=r"b\.parquet: column 'user_id': mixed types: integers"):
        read_log(tmp_path, {})


DATES = pl.Series([datetime(2020, 1, 1, tzinfo=UTC)])


@pytest.mark.parametrize(
    ("first", "second", "kinds"),
    [
        (pl.Series(["2020-01-01"]), pl.Series(["1700000000"]), ("numbers", "dates")),
        (pl.Series(["1700000000.5"]), pl.Series(["2020-01-01"]), ("dates", "numbers")),
        (DATES, pl.Series([1_700_000_000]), ("numbers", "dates")),
        (pl.Series([1.5]), DATES.dt.date(), ("dates", "numbers")),
    ],
)
def test_files_of_one_log_must_tell_time_in_one_way(
    tmp_path: Path, first: pl.Series, second: pl.Series, kinds: tuple[str, str]
) -> None:
    rows = pl.DataFrame({"user_id": [7], "item_id": [1]})
    rows.with_columns(timestamp=first).write_parquet(tmp_path / "a.parquet")
    rows.with_columns(timestamp=second).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(BadInputError) as refusal:
        read_log(tmp_path, {})
    assert str(refusal.value) == (
        f"{tmp_path / 'b.parquet'}: column 'timestamp': mixed types: {kinds[0]} in one file, "
        f"{kinds[1]} in the other ({tmp_path / 'a.parquet'}); write them alike"
    )


def test_files_of_one_log_may_write_their_dates_differently(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id,timestamp\n1,2,1970-01-01\n")
    (tmp_path / "b.csv").write_text("user_id,item_id,timestamp\n")
    (tmp_path / "c.csv").write_text("user_id,item_id,timestamp\n1,4,1970-01-01T00:00:01Z\n")
    log = read_log(tmp_path / "*.csv", {})
    assert log.values["timestamp"].tolist() == [0, 1_000_000]


def test_a_folder_of_parquet_files_is_one_log(tmp_path: Path) -> None:
    a = pl.DataFrame({"user_id": [7], "item_id": [1], "timestamp": [3]})
    b = pl.DataFrame({"user_id": [7], "item_id": [2], "timestamp": [3.5]})
    a.write_parquet(tmp_path / "a.parquet")
    b.write_parquet(tmp_path / "b.parquet")
    assert read_log(tmp_path, {}).frame.rows() == [("7", "1", 3.0), ("7", "2", 3.5)]


def test_of_a_duplicate_pair_the_latest_rating_counts(tmp_path: Path) -> None:
    log = log_of(
        tmp_path, "user_id,item_id,rating,timestamp\n1,2,3,30\n1,9,5,1\n1,2,4,50\n1,2,1,40\n"
    )
    assert sorted(log.frame.rows()) == [("1", "2", 4.0, 50), ("1", "9", 5.0, 1)]
    assert log.merged_duplicates == 2


def test_of_a_duplicate_pair_without_timestamps_the_last_row_counts(tmp_path: Path) -> None:
    log = log_of(tmp_path, "user_id,item_id,rating\n1,2,3\n1,2,4\n1,2,1\n")
    assert log.frame.rows() == [("1", "2", 1.0)]


def test_of_duplicate_pairs_of_one_moment_the_last_row_counts(tmp_path: Path) -> None:
    log = log_of(tmp_path, "user_id,item_id,rating,timestamp\n1,2,3,7\n1,2,4,7\n1,2,1,6\n")
    assert log.frame.rows() == [("1", "2", 4.0, 7)]


def test_weights_of_a_duplicate_pair_add_up(tmp_path: Path) -> None:
    log = log_of(tmp_path, "user_id,item_id,weight,timestamp\n1,2,3,9\n1,2,0.5,8\n2,2,1,7\n")
    assert sorted(log.frame.rows()) == [("1", "2", 9, 3.5), ("2", "2", 7, 1.0)]


def test_the_same_item_of_two_users_is_no_duplicate(tmp_path: Path) -> None:
    assert log_of(tmp_path, "user_id,item_id\n1,2\n2,2\n12,2\n1,22\n").merged_duplicates == 0


def test_an_odd_id_is_found_in_the_file_it_stands_in(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id\nnan,2\nanna,3\n")
    (tmp_path / "b.csv").write_text("user_id,item_id\n1,4\n2,5\nnan,6\n")
    with pytest.raises(BadInputError, match=r"b\.csv: data row 3 .* 'nan' is no id, all others"):
        read_log(tmp_path / "*.csv", {})


def test_an_item_can_be_called_nan_among_names(tmp_path: Path) -> None:
    log = log_of(tmp_path, "user_id,item_id\n1,nan\n2,naan\n")
    assert log.item_ids.to_list() == ["naan", "nan"]


def test_the_watcher_hears_of_every_part_and_every_byte(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("user_id,item_id\n1,4\n2,5\n")
    heard: list[tuple[int, int, int]] = []
    seen = bytearray()

    class Watcher:
        def on_part(self, *told: int) -> None:
            heard.append(told)  # type: ignore[arg-type]  # three of them

    read_log(tmp_path / "*.csv", {}, Watcher(), seen.extend)
    assert heard == [(2, 24, 48), (4, 48, 48)]
    assert bytes(seen) == 2 * (tmp_path / "a.csv").read_bytes()


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3), st.integers(1, 9)),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 30),
    st.booleans(),
)
def test_a_log_in_small_parts_is_what_a_table_of_it_says(
    rows: list[tuple[int, int, int, int]], block_bytes: int, has_time: bool
) -> None:
    frame = pl.DataFrame(rows, ["user_id", "item_id", "timestamp", "weight"], orient="row")
    frame = frame.with_row_index("row").with_columns(rating=pl.col("row") / 2)
    frame = frame if has_time else frame.drop("timestamp")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "log.csv"
        frame.write_csv(path)
        patch.setattr(tables, "csv_blocks", partial(csv_blocks, block_bytes=block_bytes))
        log = read_log(path, {})
    order = frame.sort("timestamp", maintain_order=True) if has_time else frame
    expected = (
        order.group_by("user_id", "item_id", maintain_order=True)
        .agg(pl.last("rating"), pl.sum("weight"))
        .sort("user_id", "item_id")
        .select(pl.col("user_id", "item_id").cast(pl.String), "rating", "weight")
    )
    assert log.frame.select("user_id", "item_id", "rating", "weight").rows() == expected.rows()
    assert log.merged_duplicates == len(rows) - len(log)
