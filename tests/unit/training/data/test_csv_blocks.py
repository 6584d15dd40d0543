import csv
import io

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.csv_blocks import csv_blocks, row_end

CELLS = st.sampled_from(["1", "", "x,y", "a\nb", 'q"q', '"', "z\r\nw", " "])


def blocks_of(text: bytes, block_bytes: int) -> list[bytes]:
    return list(csv_blocks(io.BytesIO(text).read, block_bytes))


@given(
    st.lists(st.tuples(CELLS, CELLS), max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.integers(1, 50),
)
def test_blocks_hold_the_rows_of_the_file(
    rows: list[tuple[str, str]], line_end: str, is_cut: bool, block_bytes: int
) -> None:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator=line_end)
    writer.writerows([("a", "b"), *rows])
    text = file.getvalue().encode()
    text = text.removesuffix(line_end.encode()) if is_cut else text
    frames = [pl.read_csv(block, infer_schema=False) for block in blocks_of(text, block_bytes)]
    assert pl.concat(frames).equals(pl.read_csv(text, infer_schema=False))


@pytest.mark.parametrize("block_bytes", [1, 4, 100])
@pytest.mark.parametrize("text", [b"a,b", b"a,b\n", b"\n\r\na,b\n1,2\n", b'"a\nb",c\n1,2\n', b""])
def test_a_header_is_the_first_row_that_is_not_blank(text: bytes, block_bytes: int) -> None:
    blocks = blocks_of(text, block_bytes)
    assert blocks == [text]


def test_small_blocks_of_small_rows_hold_few_rows() -> None:
    assert blocks_of(b"a,b\n1,2\n3,4\n", 4) == [b"a,b\n1,2\n", b"a,b\n3,4\n"]


def test_an_open_quote_makes_one_block_of_what_follows() -> None:
    assert blocks_of(b'a,b\n1,2\n"3,4\n5,6\n', 4) == [b"a,b\n1,2\n", b'a,b\n"3,4\n5,6\n']


def test_what_has_no_row_end_is_read_on_with_twice_as_much() -> None:
    sizes: list[int] = []
    file = io.BytesIO(b"a\n" + b"x" * 1000)

    def read(size: int) -> bytes:
        sizes.append(size)
        return file.read(size)

    assert list(csv_blocks(read, 10)) == [b"a\n" + b"x" * 1000]
    assert len(sizes) < 12


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (b"1,2\n3", 4),
        (b"1,2", 0),
        (b"", 0),
        (b'1,"2\n', 0),
        (b'1,2\n3,"4\n5\n', 4),
        (b'1,"2\n3"\n', 8),
    ],
)
def test_a_line_end_within_quotes_ends_no_row(text: bytes, end: int) -> None:
    assert row_end(text) == end
