"""Which checkpoint answers: loaded, proven and warm before the first request sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, final

import torch

from service import canaries
from service.autoencoders.rating_scale import RatingScale
from service.catalog import Catalog
from service.checkpoint import Checkpoint, load
from service.errors import UnknownModelError
from service.histories import History
from service.inference.engine import Engine, Job
from service.ranker import ModelRanker
from service.retrieval.base import Wanted
from service.retrieval_mode import FoundRetrieval, RetrievalMode, find_retrieval
from service.telemetry import Telemetry

# The first run of a batch size may pick a kernel or grow an allocator.
WARM_UP_BATCH_SIZES: Final = (1, 2, 8, 32)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A checkpoint with the engine that answers for it.

    Attributes:
        checkpoint: The model and all that belongs to it.
        engine: Runs the model's batches.
        retriever_name: How its items are found, as ``/models`` shows it.
        recall: Share of the exact lists that this way finds, measured when it was loaded.
        version: The bundle's name, as answers give it.
        user_index_of: The users with a row of their own in the model, by the customer's id.
    """

    checkpoint: Checkpoint
    engine: Engine
    retriever_name: str
    recall: float
    version: str = field(init=False)
    user_index_of: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Asked for by every answer, and put together from a date and a digest.
        object.__setattr__(self, "version", self.checkpoint.version)
        user_ids = self.checkpoint.user_ids
        user_index_of = {user_id: user_index for user_index, user_id in enumerate(user_ids)}
        object.__setattr__(self, "user_index_of", user_index_of)

    @property
    def name(self) -> str:
        """What requests call the model."""
        return self.checkpoint.manifest.name

    @property
    def digest(self) -> str:
        """The bundle's identity, 64 hex digits."""
        return self.checkpoint.digest

    @property
    def catalog(self) -> Catalog:
        """The items, in index order."""
        return self.checkpoint.catalog

    @property
    def positive_threshold(self) -> float | None:
        """Ratings below it are seen but not liked; None: every entry is liked."""
        return self.checkpoint.manifest.positive_threshold

    @property
    def rating_scale(self) -> RatingScale | None:
        """Of the ratings that the model reads and predicts; None: it reads plain interactions."""
        model = self.checkpoint.model
        scale: RatingScale | None = model.config.scale if model.reads_ratings else None
        return scale

    @property
    def kept_dim(self) -> int | None:
        """D, the size of the latents to keep; None where histories are kept in their place."""
        model = self.checkpoint.model
        return None if model.keeps_history else model.latent_dim


@final
class Deployment:
    """The model that answers now.

    It is held by one attribute, so that another model takes over in one assignment while
    requests keep the ``Served`` they began with.
    """

    def __init__(self, served: Served) -> None:
        self._current = served

    @classmethod
    def open(
        cls,
        model_dir: Path,
        device: torch.device,
        telemetry: Telemetry,
        retrieval: RetrievalMode = "exact",
        threads: int = 1,
    ) -> Self:
        """Load a bundle, let it repeat its trainer's answers, warm it up.

        Blocks for as long as that takes.

        Args:
            model_dir: A bundle, or a directory whose ``CURRENT`` names one.
            device: Where the model runs.
            telemetry: Learns which model it is, and how its proofs go.
            retrieval: How its items are to be found.
            threads: Of a product of integers; torch has its own.

        Raises:
            CheckpointError: The bundle cannot be served; its subclasses say why.
            SettingsError: The way of retrieval is not for this device, or lacks its package.
        """
        checkpoint = load(model_dir, device)
        found = find_retrieval(checkpoint, retrieval, threads, telemetry.count_retrieved)
        served = _proven(checkpoint, found)
        _warm_up(served)
        telemetry.model_info.labels(
            served.name,
            served.version,
            served.checkpoint.manifest.architecture,
            served.retriever_name,
        ).set(1)
        return cls(served)

    @property
    def models(self) -> tuple[Served, ...]:
        """All models that can be asked, the default one first."""
        return (self._current,)

    def served(self, name: str | None) -> Served:
        """Find the model that a request asks for; None means the default one.

        Raises:
            UnknownModelError: No such model is served.
        """
        if name is None or name == self._current.name:
            return self._current
        raise UnknownModelError(name, [served.name for served in self.models])


def _proven(checkpoint: Checkpoint, found: FoundRetrieval) -> Served:
    ranker = ModelRanker(checkpoint.model, found.retriever)
    canaries.replay(ranker, checkpoint.canaries)
    return Served(checkpoint, Engine(ranker), found.retriever.name, found.recall)


def _warm_up(served: Served) -> None:
    popular = History.of(served.catalog.by_popularity_I[:10])
    wanted = Wanted(k=20, hidden_item_index=popular.item_index_N)
    posted = Job(wanted, history=popular)
    for size in WARM_UP_BATCH_SIZES:
        outcomes = served.engine.run([posted] * size)
        if served.kept_dim is not None:
            served.engine.run([Job(wanted, latent_D=outcome.latent_D) for outcome in outcomes])
