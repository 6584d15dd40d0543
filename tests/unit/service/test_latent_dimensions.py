"""What a dimension stands for, told of models whose dimensions are known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from service import checkpoint
from service.autoencoders.variational import VariationalAutoencoder
from service.catalog import Catalog
from service.checkpoint import build_model
from service.histories import History, HistoryBatch
from service.latent_dimensions import LatentDimensions

TinyBundle = Callable[..., Path]
NUM_ITEMS = 40
LATENT_DIM = 4


def catalog_of(categories: tuple[tuple[str, ...], ...]) -> Catalog:
    ids = tuple(str(index) for index in range(NUM_ITEMS))
    return Catalog(ids, ids, categories, np.arange(NUM_ITEMS, 0, -1))


def shelves() -> Catalog:
    """Even items are of the land, odd ones of the sea; of every ten, one is also rare."""
    return catalog_of(
        tuple(
            (*(("Rare",) if index % 10 == 0 else ()), "Sea" if index % 2 else "Land")
            for index in range(NUM_ITEMS)
        )
    )


def linear_decoder() -> VariationalAutoencoder:
    """A RecVAE, whose items are scored by their vectors: dimension 1 is the sea, 2 the index.

    All of dimension 3 and most of 1 moves every item alike, which no list shows.
    """
    torch.manual_seed(0)
    model = build_model("recvae", {"latent_dim": LATENT_DIM, "hidden_dim": 8}, NUM_ITEMS, 0)
    assert isinstance(model, VariationalAutoencoder)
    weight_ID = torch.zeros(NUM_ITEMS, LATENT_DIM)
    weight_ID[:, 1] = torch.tensor([11.0 if index % 2 else 9.0 for index in range(NUM_ITEMS)])
    weight_ID[:, 2] = torch.linspace(-0.5, 0.5, NUM_ITEMS)
    weight_ID[:, 3] = 5.0
    model.item_vectors_IH.data.copy_(weight_ID)
    return model.freeze()


def test_dimensions_come_by_what_they_move_and_idle_ones_not_at_all() -> None:
    found = LatentDimensions(linear_decoder(), shelves()).first(8)
    assert [each.dimension for each in found] == [1, 2]
    assert found[0].effect == pytest.approx(4.0)  # from -2 to 2, times 1
    assert found[1].effect == pytest.approx(4 * torch.linspace(-0.5, 0.5, 40).std(correction=0))
    assert [each.dimension for each in LatentDimensions(linear_decoder(), shelves()).first(1)] == [
        1
    ]


def test_both_sides_are_named_by_items_and_categories() -> None:
    sea, index = LatentDimensions(linear_decoder(), shelves()).first(2)
    assert sea.above.categories == ("Sea",)
    assert sea.below.categories[0] == "Land"
    assert sea.above.item_index_K == (1, 3, 5)
    assert index.above.item_index_K == (39, 38, 37)
    assert index.below.item_index_K == (0, 1, 2)
    assert index.above.categories == ()  # no shelf stands at an end of it


def test_a_catalogue_without_categories_names_by_items() -> None:
    catalog = catalog_of(((),) * NUM_ITEMS)
    sea, _ = LatentDimensions(linear_decoder(), catalog).first(2)
    assert sea.above.categories == ()
    assert len(sea.above.item_index_K) == 3


@pytest.mark.parametrize("architecture", ["multvae", "betavae", "recvae"])
def test_a_change_is_what_decoding_moved_latents_gives(
    tiny_bundle: TinyBundle, architecture: str
) -> None:
    loaded = checkpoint.load(tiny_bundle(architecture), torch.device("cpu"))
    model, catalog = loaded.model, loaded.catalog
    (first, *_) = LatentDimensions(model, catalog).first(1)
    with torch.inference_mode():
        rows = [History.of([]), *(History.of([item]) for item in catalog.by_popularity_I)]
        latents_BD = model.encode(HistoryBatch.from_rows(rows))
        scores = []
        for offset in (2.0, -2.0):
            moved_BD = latents_BD.clone()
            moved_BD[:, first.dimension] += offset
            scores.append((model.queries(moved_BD) @ model.item_vectors_IH.T).mean(dim=0))
        change_I = (scores[0] - scores[1]).double().numpy()
    assert first.effect == pytest.approx(change_I.std(), rel=1e-5)
    assert first.above.item_index_K[0] == change_I.argmax()
    assert first.below.item_index_K[0] == change_I.argmin()


def test_a_model_that_moves_nothing_has_no_dimension_to_show() -> None:
    model = linear_decoder()
    model.item_vectors_IH.data.zero_()
    assert LatentDimensions(model, shelves()).first(8) == []
