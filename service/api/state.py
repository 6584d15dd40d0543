"""What the routes share: limits, keys, metrics, and the use case as soon as it is loaded."""

from dataclasses import dataclass, field
from typing import final

from fastapi import Request

from service.api.security import AccessKeys
from service.api.stream_end import StreamEnd
from service.errors import DrainingError, NotReadyError
from service.fleet import Fleet
from service.recommender import Recommender
from service.reloader import Reloader
from service.telemetry import Telemetry


@final
@dataclass(frozen=True, slots=True)
class HttpLimits:
    """How much one HTTP request may bring.

    Attributes:
        max_body_bytes: Bytes of a body.
        max_batch_requests: Rows of a batch.
        max_history: Entries of a history.
        rows_in_flight: Rows of one batch that may wait for the engine at once.
    """

    max_body_bytes: int
    max_batch_requests: int
    max_history: int
    rows_in_flight: int


@final
@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """What exists once every model is loaded, proven and warm.

    Attributes:
        fleet: The models.
        recommender: The use case.
        reloaders: One a model of the fleet.
        shadows: Names of the models that are only tried.
    """

    fleet: Fleet
    recommender: Recommender
    reloaders: tuple[Reloader, ...]
    shadows: tuple[str, ...] = ()

    def reloader(self, name: str) -> Reloader:
        """Give what exchanges a model.

        Raises:
            UnknownModelError: No such model is served.
        """
        deployment = self.fleet.deployment(name)
        return next(one for one in self.reloaders if one.deployment is deployment)


@final
@dataclass(slots=True, eq=False)
class ServiceState:
    """Lives as long as the app, as ``app.state.service``."""

    limits: HttpLimits
    telemetry: Telemetry
    keys: AccessKeys = field(default_factory=AccessKeys)
    stream_end: StreamEnd = field(default_factory=StreamEnd)
    ready: Ready | None = None
    is_draining: bool = False

    def require_ready(self) -> Ready:
        """Give the use case.

        Raises:
            NotReadyError: No model is loaded yet.
        """
        if self.ready is None:
            raise NotReadyError("no model is loaded yet")
        return self.ready

    def drain(self) -> None:
        """Want no more requests, and answer those that come all the same."""
        self.is_draining = True

    def require_wanting(self) -> None:
        """Make sure that more requests are wanted, which is what ``/readyz`` tells.

        Raises:
            NotReadyError: No model is loaded yet; as ``DrainingError``, the service is to end.
        """
        if self.is_draining:
            raise DrainingError("the service is about to end")
        self.require_ready()


def state_of(request: Request) -> ServiceState:
    """Give what the routes share."""
    state: ServiceState = request.app.state.service
    return state


def ready_of(request: Request) -> Ready:
    """Give the use case.

    Raises:
        NotReadyError: No model is loaded yet.
    """
    return state_of(request).require_ready()
