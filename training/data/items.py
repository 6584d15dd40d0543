"""The items file: titles and categories, and the catalogue that they make."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.catalog import Catalog
from training.data.columns import id_column
from training.data.tables import Table, Wanted, read_table
from training.errors import BadInputError

ITEM_COLUMNS: Final = ("item_id", "title", "categories")
ITEM_SCHEMA: Final = pl.Schema(
    {"item_id": pl.String(), "title": pl.String(), "categories": pl.List(pl.String())}
)
# MovieLens writes this where a film has no genre.
NO_CATEGORY: Final = "(no genres listed)"


def read_items(path: Path, columns: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Read titles and categories; other columns of the file are not needed and not kept.

    Args:
        path: CSV, TSV, JSON Lines or Parquet.
        columns: What the file calls our columns, where it has other names, such as
            ``{"categories": "genres"}``. The column ``item_id`` may keep our name all the same.

    Returns:
        A frame of ``ITEM_SCHEMA``, each item once. A missing title is the empty string, missing
        categories are the empty list. Text of categories is split at ``|``.

    Raises:
        BadInputError: One line that says what is wrong, where, and what to do.
    """
    renamed = dict(columns or {})
    for ours in renamed:
        if ours not in ITEM_COLUMNS:
            known = ", ".join(ITEM_COLUMNS)
            raise BadInputError(f"--columns: {ours!r} is no column of items; there are: {known}")
    # One --columns speaks for two files: the name of item_id may be that of the log alone.
    table = read_table(
        path, Wanted(ITEM_COLUMNS[:1], ITEM_COLUMNS[1:], renamed, either=("item_id",))
    )
    items = pl.DataFrame(
        {
            "item_id": id_column(table, "item_id"),
            "title": _titles(table),
            "categories": _categories(table),
        },
        schema=ITEM_SCHEMA,
    )
    repeated = ~items["item_id"].is_first_distinct()
    table.refuse_where(repeated, "item_id", "item {value} stands above already; keep one row of it")
    return items


def make_catalog(
    items: pl.DataFrame | None, item_ids: Sequence[str], popularity_I: NDArray[np.int64]
) -> Catalog:
    """Give every item of the vocabulary what the items file says of it, if anything.

    Args:
        items: Of ``ITEM_SCHEMA``, or None.
        item_ids: The vocabulary, in index order.
        popularity_I: Training users that have each item.
    """
    known = pl.DataFrame(schema=ITEM_SCHEMA) if items is None else items
    rows = pl.DataFrame({"item_id": item_ids}, schema={"item_id": pl.String}).join(
        known, on="item_id", how="left", maintain_order="left"
    )
    return Catalog(
        item_ids=tuple(item_ids),
        titles=tuple(rows["title"].fill_null("")),
        categories=tuple(tuple(names or ()) for names in rows["categories"].to_list()),
        popularity_I=popularity_I,
    )


def split_categories(text: pl.Series) -> pl.Series:
    """Split text at ``|`` into lists without blanks, repeats and MovieLens's word for none."""
    return _tidy(text.fill_null("").str.split("|"))


def _titles(table: Table) -> pl.Series:
    if "title" not in table.frame.columns:
        return pl.repeat("", table.frame.height, eager=True)
    raw = table.frame["title"]
    if raw.dtype.is_nested():
        raise table.error(f"a title is text, this column holds {raw.dtype}", "title")
    return raw.cast(pl.String).fill_null("").str.strip_chars()


def _categories(table: Table) -> pl.Series:
    if "categories" not in table.frame.columns:
        return pl.repeat([], table.frame.height, dtype=ITEM_SCHEMA["categories"], eager=True)
    raw = table.frame["categories"]
    if isinstance(raw.dtype, pl.List) and not raw.dtype.inner.is_nested():
        return _tidy(raw.cast(pl.List(pl.String)))
    if raw.dtype.is_nested():
        raise table.error(
            f"categories are text split at '|' or a list of text, this column holds {raw.dtype}",
            "categories",
        )
    return split_categories(raw.cast(pl.String))


def _tidy(names: pl.Series) -> pl.Series:
    name = pl.element().str.strip_chars()
    kept = name.filter(name.is_not_null() & (name != "") & (name != NO_CATEGORY))
    return names.list.eval(kept.unique(maintain_order=True)).fill_null([])
