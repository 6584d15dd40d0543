"""The items of an explained list as plain values: what raised each of them."""

from service.catalog import Catalog
from service.causes import Cause, Causes
from service.recommendation import Recommendation


def explained_items(recommendation: Recommendation, causes: Causes) -> list[dict[str, object]]:
    """Give each item with its score and its causes; scores are as short as float32 needs."""
    catalog, top = recommendation.catalog, recommendation.top
    return [
        named_item(catalog, item_index)
        | {"score": score, "because": [_cause(catalog, cause) for cause in own]}
        for item_index, score, own in zip(top.item_index_K, top.score_K, causes, strict=True)
    ]


def _cause(catalog: Catalog, cause: Cause) -> dict[str, object]:
    return named_item(catalog, cause.item_index) | {"lift": cause.lift}


def named_item(catalog: Catalog, item_index: int) -> dict[str, object]:
    """Name an item: its id, and its title where it has one."""
    title = catalog.titles[item_index]
    named: dict[str, object] = {"item_id": catalog.item_ids[item_index]}
    return named | {"title": title} if title else named
