"""An item is written once, and what is kept of it has a limit."""

import orjson
import pytest

from service import item_json
from service.item_json import ItemJson

IDS = ("1", 'quo"te', "ä")
TITLES = ("One", "", 'Été "here"')


def test_an_item_is_its_json_around_the_score() -> None:
    items = ItemJson(IDS, TITLES)
    written = [b"%b1.5%b" % items[index] for index in range(3)]
    assert [orjson.loads(item) for item in written] == [
        {"item_id": "1", "score": 1.5, "title": "One"},
        {"item_id": 'quo"te', "score": 1.5},
        {"item_id": "ä", "score": 1.5, "title": 'Été "here"'},
    ]


def test_what_is_kept_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_json, "MAX_KEPT", 2)
    items = ItemJson(IDS, TITLES)
    first = items[0]
    assert items[0] is first
    assert [items[1], items[2], items[0]] == [items[1], items[2], first]
    assert len(items) <= 2
