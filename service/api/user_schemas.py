"""What requests about kept users, and the answers to them, look like."""

from typing import Annotated, Final, TypeAlias, final

from pydantic import Field

from service.api.answers import Answer, AnsweringModel
from service.api.schemas import ItemId, Message, ModelName, OnUnknown
from service.histories import MAX_WEIGHT, MIN_WEIGHT
from service.latents.kept_history import Event
from service.recommendation import CacheOutcome

EventId: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]


@final
class EventObject(Message):
    """One interaction that adds to a history."""

    item_id: ItemId
    """The item; what the catalogue lacks is told in the answer, and not kept."""

    rating: float | None = None
    """Below the model's positive threshold: seen, but not liked. Models of ratings encode it."""

    weight: Annotated[float, Field(ge=MIN_WEIGHT, le=MAX_WEIGHT)] = 1.0
    """How much the interaction says, relative to the others; not to models of ratings."""

    event_id: EventId | None = None
    """Of the caller's choice, unique for the user: an event that is sent again counts once."""


EventEntry: TypeAlias = Annotated[ItemId | EventObject, Field(union_mode="left_to_right")]


@final
class EventsRequest(Message):
    """What a user did since the last time."""

    events: Annotated[list[EventEntry], Field(fail_fast=True)]
    """The oldest first: ids of items, or objects with a rating, a weight or an event id."""

    on_unknown: OnUnknown = "ignore"
    """Ids that the catalogue lacks: list them in the answer, or refuse the request."""

    model: ModelName | None = None
    """Whose catalogue to go by, and which model to encode with. Unset: the default one."""

    def to_events(self) -> list[Event]:
        """Turn the request into what the use case takes."""
        return [
            Event(entry)
            if isinstance(entry, str)
            else Event(entry.item_id, entry.rating, entry.weight, entry.event_id)
            for entry in self.events
        ]


@final
class KeptUserAnswer(Answer):
    """What is kept of a user after events came."""

    count: int
    """Entries of the history; of too many the oldest are let go."""

    unknown_items: list[str]
    """Ids of events that the model's catalogue lacks. They are kept only where another model of the
    service knows them."""

    cache: CacheOutcome
    """What the next list finds: hit: the history is encoded; miss: that is still to be done."""

    model: AnsweringModel
    """Who encoded."""


EVENTS_EXAMPLES: Final = {
    "ids": {"summary": "Ids alone", "value": {"events": ["1", "260"]}},
    "objects": {
        "summary": "A rating, and an id that makes it safe to send again",
        "value": {"events": [{"item_id": "1196", "rating": 4.5, "event_id": "evt-81"}]},
    },
}
