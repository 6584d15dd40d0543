"""Everything that can go wrong and has a name.

FoldinError
|- InvalidRequestError               the caller can mend it
|  |- EmptyHistoryError              nothing posted is known to the model, and fallback is off
|  |- TooManyResultsError            k is larger than the service allows
|  |- HistoryTooLongError            more entries than the service allows
|  |- UnsupportedControlError        a control that this model has nothing for
|  |- UnsupportedViewError           a look into this model where it has nothing to show
|  `- UnknownItemsError              ids that the catalogue lacks, and the caller asked to be strict
|- UnknownUserError                  nothing posted, nothing cached, and fallback is off
|- UnknownItemError                  the request is about an item that the catalogue lacks
|- UnknownModelError                 the request names a model that is not served
|- NotReadyError                     the model is still being loaded
|  `- DrainingError                  the service is about to end, and answers what still comes
|- OverloadedError                   the queue is full
|- DeadlineExceededError             the answer would come too late
|- StoreUnavailableError             what is kept of a user cannot be changed now
|- LatentStoreError                  the cache failed: becomes a miss and a counter
|  `- RecordRefusedError             it holds something else than this user's record, or is to
|- SettingsError                     a setting is wrong or unknown: start-up fails
|- ReloadRefusedError                the new bundle cannot be served: the model before answers on
|- NoPreviousModelError              nothing to roll back to
`- CheckpointError                   start-up fails, a reload is refused
   |- CheckpointMissingError         no bundle, or a file of it is absent
   |- CheckpointTooNewError          written by a later version of Foldin
   |- CanaryMismatchError            the loaded model does not repeat its trainer's answers
   `- CheckpointCorruptError         a file is not what the manifest says
      |- CheckpointTruncatedError    shorter than when it was written
      |- CheckpointDigestError       same length, other content
      |- CheckpointUnsafeError       a pickle: refused unread
      |- CheckpointNotFiniteError    weights that are NaN or infinite
      `- CatalogMismatchError        catalogue and weights do not belong together

Errors carry data and no status code: ``service/api/problems.py`` has the one table of those.
"""

from collections.abc import Sequence


class FoldinError(Exception):
    """The root of every error that Foldin raises on purpose."""


class InvalidRequestError(FoldinError):
    """The request is well-formed JSON that asks for something impossible."""


class EmptyHistoryError(InvalidRequestError):
    """No posted entry can be encoded, and the caller switched the fallback off."""


class TooManyResultsError(InvalidRequestError):
    """``k`` is larger than the service allows."""

    def __init__(self, k: int, max_k: int) -> None:
        super().__init__(f"k is {k}; this service answers at most {max_k} items")


class HistoryTooLongError(InvalidRequestError):
    """A list of ids in the request has more entries than the service allows."""

    def __init__(self, field: str, count: int, limit: int) -> None:
        super().__init__(f"{field} has {count} entries; this service takes at most {limit}")
        self.field = field


class UnknownItemsError(InvalidRequestError):
    """Ids that the catalogue lacks, in a request with ``on_unknown`` set to ``error``."""

    def __init__(self, item_ids: Sequence[str]) -> None:
        shown = ", ".join(item_ids[:5]) + (", ..." if len(item_ids) > len(item_ids[:5]) else "")
        super().__init__(f"{len(item_ids)} unknown item ids: {shown}")
        self.item_ids = tuple(item_ids)


class UnsupportedControlError(InvalidRequestError):
    """The model lacks what a control needs."""

    def __init__(self, field: str, model_name: str, missing: str) -> None:
        super().__init__(f"{field} needs {missing}, which the model {model_name} has not")
        self.field = field


class UnsupportedViewError(InvalidRequestError):
    """A look into the model shows what the model lacks."""

    def __init__(self, view: str, model_name: str, missing: str) -> None:
        super().__init__(f"{view} needs {missing}, which the model {model_name} has not")


class UnknownUserError(FoldinError):
    """No history was posted, none is kept for this user, and the fallback is off."""


class UnknownItemError(FoldinError):
    """The request is about one item, and the catalogue lacks it."""

    def __init__(self, item_id: str) -> None:
        super().__init__(f"no item {item_id[:100]!r} in the catalogue")


class UnknownModelError(FoldinError):
    """The request names a model that this service does not serve."""

    def __init__(self, name: str, served: Sequence[str]) -> None:
        super().__init__(f"no model {name!r} here; served: {', '.join(served)}")


class NotReadyError(FoldinError):
    """The model is still being loaded, verified or warmed up."""


class DrainingError(NotReadyError):
    """The service is about to end: it answers what still comes, and wants no more of it."""


class OverloadedError(FoldinError):
    """The queue is full; ``retry_after_s`` says when to come back."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("the service is at capacity")
        self.retry_after_s = retry_after_s


class DeadlineExceededError(FoldinError):
    """The request waited longer than its deadline and was dropped unanswered."""


class StoreUnavailableError(FoldinError):
    """What is kept of a user cannot be changed now, which is worth another try."""


class LatentStoreError(FoldinError):
    """The latent store failed, is slow, or holds something it should not."""


class RecordRefusedError(LatentStoreError):
    """A record is not what it has to be, kept or to be kept.

    ``reason``, a word for the metrics: ``damaged``, another ``format``, ``model``, ``user`` or
    ``history``, or a ``content`` that no model makes.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SettingsError(FoldinError):
    """A setting has a wrong value, or a variable names no setting; the message names it."""


class ReloadRefusedError(FoldinError):
    """The new bundle cannot be served; the model that answered before answers on."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.reason = type(error).__name__


class NoPreviousModelError(FoldinError):
    """There is no model to roll back to: there was none, or its bundle is gone."""


class CheckpointError(FoldinError):
    """A bundle cannot be served."""


class CheckpointMissingError(CheckpointError):
    """There is no bundle at the path, or a file of it is absent."""


class CheckpointTooNewError(CheckpointError):
    """The bundle's format is newer than this version of Foldin reads."""


class CanaryMismatchError(CheckpointError):
    """The loaded model does not repeat the answers that its trainer stored."""


class CheckpointCorruptError(CheckpointError):
    """A file of the bundle is not what the manifest says."""


class CheckpointTruncatedError(CheckpointCorruptError):
    """A file of the bundle is shorter than when it was written."""


class CheckpointDigestError(CheckpointCorruptError):
    """A file of the bundle has other content than when it was written."""


class CheckpointUnsafeError(CheckpointCorruptError):
    """The bundle holds a pickle, which could execute code; it was not opened."""


class CheckpointNotFiniteError(CheckpointCorruptError):
    """A weight is NaN or infinite: a run that diverged; lists from it would be noise."""


class CatalogMismatchError(CheckpointCorruptError):
    """The catalogue does not belong to the weights beside it."""
