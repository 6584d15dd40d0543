"""Both forms of input become one row a user, and faults are named."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from training.errors import BadInputError
from training.scoring.histories import SCHEMA, entries_of_a_log, gathered, one_row_a_user
from training.scoring.values import Place

NAMES = ("user_id", "item_id", "rating", "weight", "history")


def place(first_row: int = 0) -> Place:
    name_of = {name: name.upper() for name in NAMES}
    return Place(Path("u.x"), name_of, range(first_row, first_row + 100))


def rows_of(user_id: list[Any], history: Any, **kind: Any) -> pl.DataFrame:  # noqa: ANN401 - any column
    frame = pl.DataFrame({"user_id": user_id, "history": pl.Series(history, **kind)})
    return one_row_a_user(frame, place(10))


def test_lists_of_ids_of_any_kind_become_text() -> None:
    found = rows_of([7, 8, 9], [[1, 2], [], None])
    assert dict(found.schema) == dict(SCHEMA)
    assert found["user_id"].to_list() == ["7", "8", "9"]
    assert found["item_ids"].to_list() == [["1", "2"], [], []]
    assert found["ratings"].to_list() == [None, None, None]


def test_lists_of_objects_keep_ratings_and_weights() -> None:
    history = [[{"item_id": "a", "rating": 4, "weight": 2.0}, {"item_id": "b"}], None]
    found = rows_of(["u", "v"], history)
    assert found["item_ids"].to_list() == [["a", "b"], []]
    assert found["ratings"].to_list() == [[4.0, None], None]
    assert found["weights"].to_list() == [[2.0, None], None]


def test_a_column_of_nothing_is_nothing_but_empty_histories() -> None:
    assert rows_of(["u"], [None])["item_ids"].to_list() == [[]]


@pytest.mark.parametrize(
    ("user_id", "history", "problem"),
    [
        (["u", None], [["a"], ["a"]], "data row 12 (counted from 1), column 'USER_ID': an id is"),
        (["u", "v"], [["a"], ["a", " "]], "data row 12 (counted from 1), column 'HISTORY': an id"),
        (["u", "v"], [["a"], ["a", None]], "data row 12 (counted from 1), column 'HISTORY': an id"),
        (["u"], ["a,b"], "column 'HISTORY': lists of items are wanted, this column holds String"),
        (["u"], [[1.5]], "column 'HISTORY': ids are text or integers, this column holds Float64"),
        ([1.5], [["a"]], "column 'USER_ID': ids are text or integers"),
        (["u"], [[{"id": "a"}]], "its entries have no item_id, but id"),
        (
            ["u"],
            [[{"item_id": "a", "rating": "5"}]],
            "column 'HISTORY': numbers are wanted, 'rating' of its entries holds String",
        ),
        (["u"], [[{"item_id": "a", "weight": 0.0}]], "weights are 1e-06 to 1,000,000"),
        (["u"], [[{"item_id": "a", "rating": float("inf")}]], "a rating is a finite number"),
    ],
)
def test_what_cannot_be_scored_is_named(
    user_id: list[Any], history: list[Any], problem: str
) -> None:
    with pytest.raises(BadInputError) as error:
        rows_of(user_id, history)
    assert problem in str(error.value)


def test_the_rows_of_a_user_come_together_in_the_order_of_the_first() -> None:
    log = pl.DataFrame(
        {
            "row": [3, 5, 6, 9],
            "user_id": ["v", "u", "v", "u"],
            "item_id": [2, 1, 2, 3],
            "rating": ["4.5", "", " 1 ", None],
        }
    )
    found = gathered(entries_of_a_log(log, place()))
    assert found["user_id"].to_list() == ["v", "u"]
    assert found["row"].to_list() == [3, 5]
    assert found["item_ids"].to_list() == [["2", "2"], ["1", "3"]]
    assert found["ratings"].to_list() == [[4.5, 1.0], [None, None]]
    assert found["weights"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("column", "values", "problem"),
    [
        ("user_id", ["u", ""], "data row 2 (counted from 1), column 'USER_ID': an id is empty"),
        ("item_id", ["a", None], "data row 2 (counted from 1), column 'ITEM_ID': an id is empty"),
        ("item_id", [1.0, 2.0], "ids are text or integers, this column holds Float64"),
        ("rating", ["4", "good"], "data row 2 (counted from 1), column 'RATING': a value is no n"),
        (
            "rating",
            [4.0, float("nan")],
            "data row 2 (counted from 1), column 'RATING': a rati",
        ),
        ("rating", [True, False], "numbers are wanted, this column holds Boolean"),
        ("weight", [1, 0], "data row 2 (counted from 1), column 'WEIGHT': weights are"),
    ],
)
def test_a_bad_row_of_a_log_is_named(column: str, values: list[Any], problem: str) -> None:
    log = pl.DataFrame({"row": [0, 1], "user_id": ["u", "v"], "item_id": ["a", "b"]})
    with pytest.raises(BadInputError) as error:
        entries_of_a_log(log.with_columns(pl.Series(column, values)), place())
    assert problem in str(error.value)
