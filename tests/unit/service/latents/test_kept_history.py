from hypothesis import given
from hypothesis import strategies as st

from service.catalog import Catalog
from service.latents.kept_history import (
    NO_HISTORY,
    NO_MARK,
    Event,
    KeptHistory,
    nothing_since,
)
from service.latents.write_order import LATEST_US
from service.recommendation import PostedHistory

events = st.builds(
    Event,
    st.sampled_from(["i1", "i2", "i3"]),
    st.none() | st.floats(-5, 5),
    st.floats(0.5, 2),
    st.none() | st.sampled_from("abcdef") | st.just("\ud800"),
)


def items(history: KeptHistory) -> list[str]:
    return list(history.entries.item_ids)


def test_ratings_weights_and_repeated_items_stay_as_they_came() -> None:
    history = NO_HISTORY.with_events([Event("i1"), Event("i2", 4.0), Event("i1", None, 2.0)], 10)
    assert history.entries == PostedHistory(("i1", "i2", "i1"), (None, 4.0, None), (1.0, 1.0, 2.0))
    assert history.marks == ()


def test_an_event_without_an_id_counts_each_time() -> None:
    history = NO_HISTORY.with_events([Event("i1"), Event("i1")], 10)
    assert items(history.with_events([Event("i1")], 10)) == ["i1"] * 3


def test_a_history_to_which_nothing_is_new_is_itself() -> None:
    history = NO_HISTORY.with_events([Event("i1", event_id="a")], 10)
    assert history.with_events([Event("i2", event_id="a")], 10) is history
    assert history.with_events([], 10) is history


def test_the_same_words_in_another_id_are_another_event() -> None:
    history = NO_HISTORY.with_events([Event("i1", event_id="a"), Event("i1", event_id="a ")], 10)
    assert len(history) == 2


def test_what_is_no_longer_kept_may_come_again() -> None:
    history = NO_HISTORY.with_events([Event(f"i{n}", event_id=f"e{n}") for n in range(4)], 3)
    assert items(history) == ["i1", "i2", "i3"]
    assert items(history.with_events([Event("i0", event_id="e0")], 3)) == ["i2", "i3", "i0"]


def test_marks_that_have_all_been_let_go_take_no_room() -> None:
    history = NO_HISTORY.with_events([Event("i1", event_id="a")], 2)
    assert history.with_events([Event("i2"), Event("i3")], 2).marks == ()


def test_of_a_posted_history_the_known_entries_are_kept() -> None:
    catalog = Catalog.from_json(
        b'{"item_ids":["i1","i2"],"titles":["",""],"categories":[[],[]],"popularity":[1,1]}'
    )
    posted = PostedHistory(("i1", "nope", "i2"), (1.0, 2.0, None), (1.0, 2.0, 3.0))
    kept = KeptHistory.of_known(posted, [catalog])
    assert kept.entries == PostedHistory(("i1", "i2"), (1.0, None), (1.0, 3.0))
    plain = PostedHistory(("nope", "i2"))
    assert KeptHistory.of_known(plain, [catalog]).entries == PostedHistory(("i2",))
    known = PostedHistory(("i2", "i1"))
    assert KeptHistory.of_known(known, [catalog]).entries is known


@given(st.lists(events, max_size=30), st.integers(1, 8), st.integers(0, 30))
def test_events_in_one_call_or_in_two_leave_the_same_history(
    sent: list[Event], limit: int, cut: int
) -> None:
    at_once = NO_HISTORY.with_events(sent, 1000)
    in_turn = NO_HISTORY.with_events(sent[:cut], 1000).with_events(sent[cut:], 1000)
    assert at_once == in_turn
    assert in_turn.with_events(sent, 1000).marks[: len(in_turn.marks)] == in_turn.marks
    bounded = NO_HISTORY.with_events(sent, limit)
    assert items(bounded) == items(at_once)[-limit:]
    assert len(bounded.marks) in {0, len(bounded)}


def test_each_event_has_a_time_of_its_own_after_all_that_was_there() -> None:
    history = nothing_since(100).with_events([Event("i1"), Event("i2")], 10, 500)
    assert history.event_times_us == (500, 501)
    assert history.with_events([Event("i3")], 10, 200).event_times_us == (500, 501, 502)
    assert history.with_events([Event("i3")], 2, 900).event_times_us == (501, 900)
    assert nothing_since(100).with_events([Event("i1")], 10, 50).event_times_us == (101,)


def test_a_time_that_no_write_can_be_before_any_more_is_let_go() -> None:
    history = NO_HISTORY.with_events([Event("i1"), Event("i2")], 10, 1000)
    grown = history.with_events([Event("i3")], 10, 1001 + LATEST_US)
    assert (items(grown), grown.event_times_us) == (["i1", "i2", "i3"], (1001 + LATEST_US,))
    grown = history.with_events([Event("i3")], 10, 1000 + LATEST_US)
    assert grown.event_times_us == (1001, 1000 + LATEST_US)


def test_under_later_events_a_posted_history_keeps_its_columns_and_they_theirs() -> None:
    later = NO_HISTORY.with_events([Event("i0", event_id="z")], 10, 100)
    later = later.with_events([Event("i3", 2.0, event_id="a"), Event("i4", None, 2.0)], 10, 300)
    posted = KeptHistory(PostedHistory(("i1", "i2"), (None, 5.0)), posted_at_us=200)
    merged = posted.under(later, 400)
    assert merged.entries == PostedHistory(
        ("i1", "i2", "i3", "i4"), (None, 5.0, 2.0, None), (1.0, 1.0, 1.0, 2.0)
    )
    assert merged.marks == (NO_MARK, NO_MARK, *later.marks[1:])
    assert (merged.posted_at_us, merged.event_times_us) == (200, (300, 301))
    assert merged.with_events([Event("i3", event_id="a")], 10, 500) is merged
    assert posted.under(NO_HISTORY.with_events([Event("i3")], 10, 300), 400).marks == ()
    assert posted.under(NO_HISTORY.with_events([Event("i3")], 10, 100), 400) is posted


@given(st.lists(events.filter(lambda event: event.event_id is not None), max_size=30))
def test_every_event_id_counts_once(sent: list[Event]) -> None:
    history = NO_HISTORY.with_events(sent, 1000)
    assert len(history) == len({event.event_id for event in sent})
    assert history.with_events(sent, 1000) is history
