"""Histories are cut into parts of one size, in order, and nothing is lost between them."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.scoring.parts import write_parts


@given(sizes=st.lists(st.integers(0, 9), max_size=8), users=st.integers(1, 7))
def test_parts_hold_all_rows_in_order_and_all_but_the_last_are_full(
    sizes: list[int], users: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    rows = iter(range(sum(sizes)))
    frames = [
        pl.DataFrame({"n": [next(rows) for _ in range(size)]}, {"n": pl.Int64}) for size in sizes
    ]
    parts = list(write_parts(frames, folder, users))
    assert [part.index for part in parts] == list(range(len(parts)))
    assert all(part.users == users for part in parts[:-1])
    assert all(0 < part.users <= users for part in parts[-1:])
    written = [pl.read_parquet(part.histories)["n"].to_list() for part in parts]
    assert [len(one) for one in written] == [part.users for part in parts]
    assert [n for one in written for n in one] == list(range(sum(sizes)))


def test_files_of_parts_sort_as_their_numbers(tmp_path: Path) -> None:
    frames = [pl.DataFrame({"n": range(12)})]
    names = [part.lists.name for part in write_parts(frames, tmp_path, 1)]
    assert names == sorted(names)
