"""Items as answers write them: their JSON, in two parts around the score."""

from collections.abc import Sequence
from typing import Final, final

import orjson

# 310 bytes an item with a title of 40 letters: 8 MB of 25,000 items, and never more than 31 MB.
# When more are shown, it begins anew.
MAX_KEPT: Final = 100_000


@final
class ItemJson(dict[int, tuple[bytes, bytes]]):
    """The JSON before and after the score of an item, by item index.

    An item is written when it is first shown (0.6 us), and then kept: to write all of a million
    items at load would cost 0.6 s and 310 MB a worker, and few of them are ever shown.

    Args:
        item_ids: By item index.
        titles: By item index, empty where there is none.
    """

    def __init__(self, item_ids: Sequence[str], titles: Sequence[str]) -> None:
        super().__init__()
        self._item_ids = item_ids
        self._titles = titles

    def __missing__(self, item_index: int) -> tuple[bytes, bytes]:
        if len(self) >= MAX_KEPT:
            self.clear()
        before = b'{"item_id":%b,"score":' % orjson.dumps(self._item_ids[item_index])
        title = self._titles[item_index]
        after = b',"title":%b}' % orjson.dumps(title) if title else b"}"
        written = before, after
        self[item_index] = written
        return written
