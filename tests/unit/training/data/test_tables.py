import gzip
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from training.data import tables
from training.data.csv_blocks import csv_blocks
from training.data.tables import Table, Wanted, find_files, read_parts, read_table
from training.data.watched_file import ignore_bytes
from training.errors import BadInputError

ROWS = pl.DataFrame({"user_id": ["007", "b"], "item_id": ["x,y", "2"]})


def write_csv(path: Path) -> None:
    ROWS.write_csv(path)


def write_packed_csv(path: Path) -> None:
    path.write_bytes(gzip.compress(ROWS.write_csv().encode()))


def write_tsv(path: Path) -> None:
    ROWS.write_csv(path, separator="\t")


def read(path: Path, **renamed: str) -> Table:
    return read_table(path, Wanted(["user_id", "item_id"], ["rating"], renamed))


def refusal_of(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInputError) as refusal:
        read(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("log.csv", write_csv),
        ("LOG.CSV", write_csv),
        ("log.csv.gz", write_packed_csv),
        ("log.tsv", write_tsv),
        ("log.jsonl", ROWS.write_ndjson),
        ("log.ndjson", ROWS.write_ndjson),
        ("log.parquet", ROWS.write_parquet),
        ("log[1].csv", write_csv),
        ("log[1].jsonl", ROWS.write_ndjson),
        ("log[1].parquet", ROWS.write_parquet),
    ],
)
def test_every_format_gives_the_same_table(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / name)
    assert read(tmp_path / name).frame.equals(ROWS)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes("\ufeffuser_id,item_id\r\n1,2\r\n".encode())
    assert read(path).frame.rows() == [("1", "2")]


def test_columns_that_nobody_asked_for_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("note,item_id,user_id,rating\nhi,1,2,3\n")
    assert read(path).frame.columns == ["user_id", "item_id", "rating"]


def test_a_column_goes_by_the_name_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("uid,item_id,rating,stars\na,1,2,5\n")
    assert read(path, user_id="uid", rating="stars").frame.rows() == [("a", "1", "5")]


def test_a_missing_column_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    message = refusal_of(tmp_path / "log.csv", "uid,movieId,rating\n1,2,3\n")
    assert message == (
        "no column 'user_id'; there are: uid, movieId, rating; "
        "say which one it is with --columns user_id=NAME"
    )


def test_an_optional_column_that_was_renamed_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,rating\n1,2,3\n")
    with pytest.raises(BadInputError, match=r"no column 'stars'; .* --columns rating=NAME"):
        read(path, rating="stars")


def test_a_wanted_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    message = refusal_of(tmp_path / "log.csv", '\ufeffuser_id,item_id,"item_id"\n1,2,3\n')
    assert message == "two columns are called 'item_id'; rename one of them"


def test_a_column_that_nobody_asked_for_may_be_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(",user_id,,item_id,note,note\n0,1,0,2,a,b\n")
    assert read(path).frame.rows() == [("1", "2")]


def test_lines_that_end_in_a_carriage_return_alone_are_told(tmp_path: Path) -> None:
    message = refusal_of(tmp_path / "log.csv", "user_id,item_id\r1,2\r")
    assert message == "its lines end in CR alone; write them with LF or CR LF"


def test_a_line_with_too_many_fields_is_named_by_its_row(tmp_path: Path) -> None:
    message = refusal_of(tmp_path / "log.csv", 'user_id,item_id\n1,"2\n2"\n1,2,3\n')
    assert message == (
        "data row 2 (counted from 1) has 3 fields, the header 2; "
        "put text that holds ',' in double quotes"
    )


def test_too_many_fields_show_even_where_the_wanted_columns_come_first(tmp_path: Path) -> None:
    message = refusal_of(tmp_path / "log.csv", "user_id,item_id,a,b\n1,2,3,4\n1,2,3,4,5\n")
    assert message.startswith("data row 2 (counted from 1) has 5 fields, the header 4")


def test_a_packed_file_is_searched_for_the_odd_line_too(tmp_path: Path) -> None:
    packed = gzip.compress(b"user_id\titem_id\n1\t2\t3\n")
    message = refusal_of(tmp_path / "log.tsv.gz", packed)
    assert message.startswith(r"data row 1 (counted from 1) has 3 fields, the header 2")


def test_a_packed_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    lines = b"".join(f"{n},{n * 7919 % 1000}\n".encode() for n in range(1000))
    packed = gzip.compress(b"user_id,item_id\n" + lines)
    message = refusal_of(tmp_path / "log.csv.gz", packed[: len(packed) // 2])
    assert message.startswith("no whole gzip file ")
    assert message.endswith("; was the copy cut short? Copy it again")


@pytest.mark.parametrize("place", range(12, 160, 7))
def test_a_packed_file_with_a_changed_byte_is_refused(tmp_path: Path, place: int) -> None:
    lines = b"".join(b"%d,%d\n" % (number, number * 7919 % 977) for number in range(60))
    packed = bytearray(gzip.compress(b"user_id,item_id\n" + lines, mtime=0))
    packed[place] ^= 0x55
    refusal_of(tmp_path / "log.csv.gz", bytes(packed))


@pytest.mark.parametrize(
    "rows",
    [
        'a,x\nb,"y\nc,z\nd,w\n',  # not closed
        'a,x\nb,5"disk\nc,z\n',
        'a,x\nb,5"disk\nc,6"disk\n',  # even, so that no quote seems open at the end
        'a,x\nb,"y"z\nc,w\n',
        '"a ""b"", ""c""\n","x"\r\nb,5"disk\nc,z\n',
    ],
)
def test_a_stray_quote_is_named_by_its_row(tmp_path: Path, rows: str) -> None:
    message = refusal_of(tmp_path / "log.csv", "user_id,item_id\n" + rows)
    assert message == (
        "data row 2 (counted from 1) has a quote that is not closed, or one amid text; "
        "put such text in double quotes, and write each quote in it twice"
    )


def test_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    message = refusal_of(tmp_path / "log.csv", b"user_id,item_id\n\xff\xfe,2\n")
    assert message == "cannot be read as .csv: invalid utf-8 sequence"


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert refusal_of(tmp_path / "log.parquet", b"") == "the file is empty"


def test_an_unknown_kind_of_file_is_told_the_known_ones(tmp_path: Path) -> None:
    assert refusal_of(tmp_path / "log.xlsx", "?") == (
        "unknown kind of file; known are .csv .csv.gz .tsv .tsv.gz .jsonl .ndjson .parquet"
    )


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no\.csv: no such file"):
        read(tmp_path / "no.csv")


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    ROWS.write_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    message = refusal_of(tmp_path / "log.parquet", whole[: len(whole) // 2])
    assert message.startswith("no whole Parquet file (")
    assert message.endswith("was the copy cut short? Copy it again")


def test_every_length_of_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    ROWS.write_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    for length in random.Random(3).sample(range(1, len(whole)), 50):
        refusal_of(tmp_path / "log.parquet", whole[:length])


def test_broken_json_is_named_by_its_row(tmp_path: Path) -> None:
    lines = '{"user_id": "1", "item_id": "2"}\n\n{"user_id": "1", "item\n'
    message = refusal_of(tmp_path / "log.jsonl", lines)
    assert message.startswith("data row 2 (counted from 1) is no JSON (")
    assert message.endswith("; write one JSON object a line, with one type a column")


def test_a_json_line_that_is_no_object_is_named_by_its_row(tmp_path: Path) -> None:
    message = refusal_of(tmp_path / "log.jsonl", '{"user_id": "1", "item_id": "2"}\n[3]\n')
    assert message.startswith("data row 2 (counted from 1) is no JSON object; ")


@pytest.mark.parametrize(
    ("above", "value", "problem"),
    [
        ("1", '"x"', "'x' is text, the rows above have a number"),
        ('"x"', "1", "1 is a number, the rows above have text"),
        ('"x"', "true", "True is a boolean, the rows above have text"),
        ("1", "[2]", "[2] is a list, the rows above have a number"),
        ('"x"', '{"a": 2}', "{'a': 2} is an object, the rows above have text"),
    ],
)
def test_a_column_of_mixed_types_is_named_by_row_and_value(
    tmp_path: Path, above: str, value: str, problem: str
) -> None:
    rows = [above] * 300 + ["null", value]  # later than a reader would look to guess a type
    lines = "".join(f'{{"item_id": "i", "user_id": {cell}}}\n' for cell in rows)
    message = refusal_of(tmp_path / "log.jsonl", lines)
    assert message.startswith(f"data row 302 (counted from 1), column 'user_id': {problem}; ")


def test_a_json_column_may_begin_in_a_late_row(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    row = '{"user_id": "1", "item_id": "2"}\n'
    path.write_text(row * 300 + '{"user_id": "1", "item_id": "2", "rating": 4.5}\n')
    assert read(path).frame["rating"].sum() == 4.5


def test_json_that_is_well_formed_but_unreadable_still_names_the_file(tmp_path: Path) -> None:
    # Lists and text under a key that nobody asked for: no column of ours is to blame.
    lines = '{"user_id": "1", "item_id": "2", "x": {"a": 1}}\n' * 2 + '{"x": true}\n{"x": 1}\n'
    message = refusal_of(tmp_path / "log.jsonl", lines)
    assert message.startswith("cannot be read as .jsonl: ")


def test_a_glob_means_its_matches_in_order(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in find_files(tmp_path / "*.csv")] == ["a.csv", "b.csv"]


def test_a_glob_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert find_files(Path("*.csv")) == [Path("a.csv")]


def test_a_folder_means_its_parquet_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.parquet", "deep/a.parquet", "notes.csv"):
        (tmp_path / name).write_text("x")
    assert find_files(tmp_path) == [tmp_path / "b.parquet", tmp_path / "deep" / "a.parquet"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no.csv", "no such file or folder"),
        ("*.csv", "no file matches"),
        ("x**y", "(?i)pattern|no file matches"),
        ("", "no .parquet file in this folder; name a file or a glob"),
    ],
)
def test_a_source_that_means_no_file_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        find_files(tmp_path / name)


def test_a_long_value_is_cut_in_the_message(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"user_id,item_id\n{'x' * 500},1\n")
    table = read(path)
    with pytest.raises(BadInputError) as refusal:
        table.refuse_where(pl.Series([True]), "user_id", "{value} is odd")
    assert str(refusal.value).endswith(f"column 'user_id': '{'x' * 59}... is odd")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("log.csv", pl.DataFrame.write_csv),
        ("log.jsonl", pl.DataFrame.write_ndjson),
        ("log.parquet", pl.DataFrame.write_parquet),
    ],
)
def test_parts_are_the_whole_in_order_and_know_the_rows_above_them(
    tmp_path: Path,
    name: str,
    write: Callable[[pl.DataFrame, Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tables, "PART_ROWS", 40)
    monkeypatch.setattr(tables, "csv_blocks", partial(csv_blocks, block_bytes=100))
    rows = pl.DataFrame({"user_id": [f"u{n}" for n in range(100)], "item_id": ["x"] * 100})
    write(rows, tmp_path / name)
    seen = bytearray()
    parts = list(read_parts(tmp_path / name, Wanted(["user_id", "item_id"]), seen.extend))
    assert len(parts) > 2
    assert pl.concat([part.frame for part in parts]).equals(rows)
    assert [part.rows_before for part in parts] == [
        sum(part.frame.height for part in parts[:number]) for number in range(len(parts))
    ]
    assert seen == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_a_file_without_rows_is_one_part_without_rows(tmp_path: Path, name: str) -> None:
    empty = ROWS.clear()
    empty.write_csv(tmp_path / "log.csv")
    empty.write_parquet(tmp_path / "log.parquet")
    parts = list(read_parts(tmp_path / name, Wanted(["item_id"]), ignore_bytes))
    assert [part.frame.schema for part in parts] == [{"item_id": pl.String}]


def test_a_bad_row_of_a_later_part_is_counted_from_the_top(tmp_path: Path) -> None:
    table = Table(tmp_path, ROWS, {"user_id": "uid"}, rows_before=7)
    with pytest.raises(BadInputError, match=r"data row 9 \(counted from 1\), column 'uid': 'b'"):
        table.refuse_where(pl.Series([False, True]), "user_id", "{value}")


def test_what_is_packed_is_unpacked_whatever_its_name(tmp_path: Path) -> None:
    write_packed_csv(tmp_path / "log.csv")
    (tmp_path / "log.csv.gz").write_bytes(ROWS.write_csv().encode())
    assert read(tmp_path / "log.csv").frame.equals(ROWS)
    assert read(tmp_path / "log.csv.gz").frame.equals(ROWS)


def test_a_row_with_too_many_fields_is_named_far_from_the_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "csv_blocks", partial(csv_blocks, block_bytes=64))
    text = "user_id,item_id\n" + "1,2\n" * 100 + "1,2,3\n" + "1,2\n" * 100
    message = refusal_of(tmp_path / "log.csv", text)
    assert message.startswith("data row 101 (counted from 1) has 3 fields")
