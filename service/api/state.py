"""What the routes share: limits, metrics, and the use case as soon as it is loaded."""

from dataclasses import dataclass
from typing import final

from fastapi import Request

from service.deployment import Deployment
from service.errors import NotReadyError
from service.recommender import Recommender
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
    """What exists once a model is loaded, proven and warm."""

    deployment: Deployment
    recommender: Recommender


@final
@dataclass(slots=True, eq=False)
class ServiceState:
    """Lives as long as the app, as ``app.state.service``."""

    limits: HttpLimits
    telemetry: Telemetry
    ready: Ready | None = None

    def require_ready(self) -> Ready:
        """Give the use case.

        Raises:
            NotReadyError: No model is loaded yet.
        """
        if self.ready is None:
            raise NotReadyError("no model is loaded yet")
        return self.ready


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
