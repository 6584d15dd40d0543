"""New items in a bundle: a new version that serves them, and nothing written on error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from service import canaries, checkpoint
from service.catalog import Catalog
from service.histories import History, HistoryBatch
from service.ranker import ModelRanker
from service.retrieval.base import Wanted
from training.cold_items import DEFAULT_LIFT, add_items
from training.data.items import ITEM_SCHEMA
from training.errors import BadInputError

NUM_ITEMS = 24
WriteBundle = Callable[..., Path]


def catalog(**changes: Any) -> Catalog:  # noqa: ANN401 - fields of a catalogue
    columns: dict[str, Any] = {
        "item_ids": tuple(f"i{index}" for index in range(NUM_ITEMS)),
        "titles": tuple(f"Film {('Red', 'Blue')[index % 2]} {index}" for index in range(NUM_ITEMS)),
        "categories": tuple((f"kind {index % 3}",) for index in range(NUM_ITEMS)),
        "popularity_I": np.arange(NUM_ITEMS) + 1,
    }
    return Catalog(**(columns | changes))


def new_items(*rows: tuple[str, str, list[str]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=ITEM_SCHEMA, orient="row")


TWO = new_items(("n1", "A Red Thing", ["kind 1"]), ("n2", "?", ["kind 9"]))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("architecture", ["multvae", "cdae", "hybrid", "edlae"])
def test_the_new_version_has_the_items_and_proves_its_answers(
    write_bundle: WriteBundle, tmp_path: Path, architecture: str
) -> None:
    users = ("u0", "u1") if architecture in {"cdae", "hybrid"} else ()
    write_bundle(tmp_path, catalog(), architecture, user_ids=users, metrics={"test": {"x": 1}})
    before = checkpoint.load(tmp_path)
    added = add_items(tmp_path, TWO)
    after = checkpoint.load(tmp_path)
    assert checkpoint.resolve(tmp_path) == added.bundle
    assert checkpoint.load(tmp_path / before.version).digest == before.digest
    assert after.catalog.item_ids == (*before.catalog.item_ids, "n1", "n2")
    assert after.catalog.titles[-2:] == ("A Red Thing", "?")
    assert after.catalog.categories[-2:] == (("kind 1",), ("kind 9",))
    assert after.catalog.popularity_I[-2:].tolist() == [0, 0]
    assert after.user_ids == before.user_ids
    assert after.manifest.metrics == before.manifest.metrics
    (cold,) = after.manifest.cold_items
    assert (cold.first_index, cold.count, cold.without_features) == (NUM_ITEMS, 2, 1)
    assert cold.added_to == before.version
    assert cold.lift == DEFAULT_LIFT
    canaries.replay(ModelRanker(after.model), after.canaries)
    alone = [canary.history.item_index_N.tolist() for canary in after.canaries]
    assert [NUM_ITEMS] in alone


def test_a_new_item_is_recommended_and_a_history_may_name_it(
    write_bundle: WriteBundle, tmp_path: Path
) -> None:
    write_bundle(tmp_path, catalog(), "multvae")
    add_items(tmp_path, TWO)
    ranker = ModelRanker(checkpoint.load(tmp_path).model)
    histories = HistoryBatch.from_rows([History.of([]), History.of([NUM_ITEMS])])
    nothing = np.empty(0, dtype=np.int64)
    empty, named = ranker.top_k(histories, [Wanted(NUM_ITEMS + 2, nothing)] * 2)
    assert NUM_ITEMS in empty.item_index_K
    assert empty.item_index_K.tolist() != named.item_index_K.tolist()


def test_items_can_be_added_again_and_cold_ones_teach_nothing(
    write_bundle: WriteBundle, tmp_path: Path
) -> None:
    write_bundle(tmp_path, catalog(), "cdae")
    once = add_items(tmp_path, TWO)
    add_items(tmp_path, new_items(("n3", "A Red Thing", ["kind 1"])))
    after = checkpoint.load(tmp_path)
    assert [cold.first_index for cold in after.manifest.cold_items] == [NUM_ITEMS, NUM_ITEMS + 2]
    assert after.manifest.cold_items[1].explained == pytest.approx(once.cold.explained)
    vectors = after.model.item_vectors_IH
    np.testing.assert_allclose(vectors[NUM_ITEMS], vectors[NUM_ITEMS + 2], atol=1e-6)


def test_a_lift_brings_new_items_to_the_top(write_bundle: WriteBundle, tmp_path: Path) -> None:
    write_bundle(tmp_path, catalog(), "multvae")
    add_items(tmp_path, TWO, lift=50.0)
    loaded = checkpoint.load(tmp_path)
    (found,) = ModelRanker(loaded.model).top_k(
        HistoryBatch.from_rows([History.of([3])]), [Wanted(2, np.array([3]))]
    )
    assert set(found.item_index_K.tolist()) == {NUM_ITEMS, NUM_ITEMS + 1}
    assert loaded.manifest.cold_items[0].lift == 50


def test_another_folder_gets_the_new_version_and_the_first_one_stays(
    write_bundle: WriteBundle, tmp_path: Path
) -> None:
    bundle = write_bundle(tmp_path / "live", catalog(), "cdae")
    before = files(tmp_path / "live")
    added = add_items(bundle, TWO, tmp_path / "next")
    assert files(tmp_path / "live") == before
    assert checkpoint.resolve(tmp_path / "next") == added.bundle


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (new_items(("n1", "", []), ("i7", "", [])), "item 'i7': .* has it already"),
        (new_items(("i7", "", []), ("i3", "", [])), "item 'i7' and 1 others: .* has it already"),
        (new_items(), "no items in the file"),
    ],
)
def test_bad_items_are_named_and_nothing_is_written(
    write_bundle: WriteBundle, tmp_path: Path, items: pl.DataFrame, message: str
) -> None:
    write_bundle(tmp_path, catalog(), "cdae")
    before = files(tmp_path)
    with pytest.raises(BadInputError, match=message):
        add_items(tmp_path, items)
    assert files(tmp_path) == before


@pytest.mark.parametrize("architecture", ["cdae", "autorec-user", "hybrid", "edlae"])
@pytest.mark.parametrize(
    ("lift", "message"),
    [
        (float("nan"), "the lift is nan: it must be a finite number"),
        (float("inf"), "the lift is inf"),
        (float("-inf"), "the lift is -inf"),
        (1e39, "would not be finite: choose a smaller lift"),  # float32 ends at 3.4e38
    ],
)
def test_a_lift_that_no_score_can_hold_is_refused_and_nothing_is_written(
    write_bundle: WriteBundle, tmp_path: Path, architecture: str, lift: float, message: str
) -> None:
    write_bundle(tmp_path, catalog(), architecture)
    before = files(tmp_path)
    with pytest.raises(BadInputError, match=message):
        add_items(tmp_path, TWO, lift=lift)
    assert files(tmp_path) == before


def test_a_catalogue_of_bare_ids_is_nothing_to_predict_from(
    write_bundle: WriteBundle, tmp_path: Path
) -> None:
    bare = catalog(titles=("",) * NUM_ITEMS, categories=((),) * NUM_ITEMS)
    write_bundle(tmp_path, bare, "cdae")
    with pytest.raises(BadInputError, match="share no category and no title word"):
        add_items(tmp_path, TWO)
