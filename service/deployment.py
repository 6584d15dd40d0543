"""Which checkpoint answers: loaded, proven and warm before the first request sees it, one swap."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, final

import torch

from service import canaries
from service.autoencoders.rating_scale import RatingScale
from service.autoencoders.variational import VariationalAutoencoder
from service.catalog import Catalog
from service.checkpoint import Checkpoint, load
from service.dense_layers import dense_layers_of
from service.histories import History
from service.inference.engine import Engine, Job, Observe
from service.item_map import ItemMap
from service.latent_dimensions import LatentDimensions
from service.ranker import ModelRanker
from service.refiner import Refiner
from service.retrieval.base import Wanted
from service.retrieval.similar import Neighbours
from service.retrieval_mode import FoundRetrieval, RetrievalMode, find_retrieval
from service.shelf import Shelf
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
        name: What requests call it.
        retriever_name: How its items are found, as ``/models`` shows it.
        recall: Share of the exact lists that this way finds, measured when it was loaded.
        version: The bundle's name, as answers give it.
        shelf: Which of its items a filter lets through.
        neighbours: Which of its items are like which.
        item_map: Where its items lie beside one another.
        dimensions: Of its latents, where it has a posterior.
        user_index_of: The users with a row of their own in the model, by the customer's id.
    """

    checkpoint: Checkpoint
    engine: Engine
    name: str
    retriever_name: str
    recall: float
    version: str = field(init=False)
    shelf: Shelf = field(init=False, repr=False)
    neighbours: Neighbours = field(init=False, repr=False)
    item_map: ItemMap = field(init=False, repr=False)
    dimensions: LatentDimensions = field(init=False, repr=False)
    user_index_of: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Asked for by every answer, and put together from a date and a digest.
        object.__setattr__(self, "version", self.checkpoint.version)
        object.__setattr__(self, "shelf", Shelf(self.checkpoint.catalog))
        model = self.checkpoint.model
        neighbours = Neighbours(model.item_vectors_IH, model.linear)
        object.__setattr__(self, "neighbours", neighbours)
        item_map = ItemMap(model.item_vectors_IH, self.checkpoint.catalog)
        object.__setattr__(self, "item_map", item_map)
        dimensions = LatentDimensions(model, self.checkpoint.catalog)
        object.__setattr__(self, "dimensions", dimensions)
        user_ids = self.checkpoint.user_ids
        user_index_of = {user_id: user_index for user_index, user_id in enumerate(user_ids)}
        object.__setattr__(self, "user_index_of", user_index_of)

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
    def has_posterior(self) -> bool:
        """Whether there is anything to draw from."""
        return isinstance(self.checkpoint.model, VariationalAutoencoder)

    @property
    def has_item_vectors(self) -> bool:
        """Whether items can be like each other."""
        return self.checkpoint.model.item_vectors_IH.shape[1] > 0

    @property
    def latent_dim(self) -> int:
        """D, the size of its latents."""
        return self.checkpoint.model.latent_dim

    @property
    def kept_dim(self) -> int | None:
        """D, the size of the latents to keep; None where histories are kept in their place."""
        model = self.checkpoint.model
        return None if model.keeps_history else model.latent_dim


@final
@dataclass(frozen=True, slots=True, eq=False)
class Loader:
    """Makes bundles ready to answer: loads one, lets it repeat its trainer's answers, warms it up.

    Attributes:
        device: Where the model runs.
        telemetry: Learns how its proofs go.
        retrieval: How its items are to be found.
        threads: Of a product of integers; torch has its own.
        name: What requests call its models; None: what each bundle calls itself.
    """

    device: torch.device
    telemetry: Telemetry
    retrieval: RetrievalMode = "exact"
    threads: int = 1
    name: str | None = None

    def load(self, path: Path) -> Served:
        """Make a bundle ready; blocks for as long as that takes.

        Args:
            path: A bundle, or a directory whose ``CURRENT`` names one.

        Raises:
            CheckpointError: The bundle cannot be served; its subclasses say why.
            SettingsError: The way of retrieval is not for this device, or lacks its package.
        """
        checkpoint = load(path, self.device)
        count = self.telemetry.count_retrieved
        found = find_retrieval(checkpoint, self.retrieval, self.threads, count)
        served = Served(
            checkpoint=checkpoint,
            engine=_proven(checkpoint, found, self.telemetry.observe_stage, self.threads),
            name=self.name or checkpoint.manifest.name,
            retriever_name=found.retriever.name,
            recall=found.recall,
        )
        _warm_up(served)
        return served


@final
class Deployment:
    """The model that answers now, and the one before it, for an instant way back.

    Both are held by one attribute, so that another model takes over in one assignment while
    requests keep the ``Served`` they began with.

    Args:
        served: The first model.
        telemetry: Is told which model answers.
    """

    def __init__(self, served: Served, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._held: tuple[Served, Served | None] = (served, None)
        self._announced: tuple[str, ...] | None = None
        self.announce()

    @classmethod
    def open(cls, path: Path, loader: Loader) -> Self:
        """Begin with a bundle; what ``Loader.load`` says of the path and of errors holds here."""
        return cls(loader.load(path), loader.telemetry)

    @property
    def current(self) -> Served:
        """The model that answers."""
        return self._held[0]

    @property
    def previous(self) -> Served | None:
        """The model that answered before it; None: there was none."""
        return self._held[1]

    def swap(self, current: Served, previous: Served | None) -> None:
        """Let another model answer from now on; what it does not hold any more is freed."""
        self._held = (current, previous)
        self.announce()

    def announce(self) -> None:
        """Tell the metrics which model answers: of this process, where it was forked since."""
        served = self.current
        architecture = served.checkpoint.manifest.architecture
        labels = (served.name, served.version, architecture, served.retriever_name)
        if self._announced not in {None, labels}:
            self._telemetry.hide_model(self._announced)
        self._telemetry.show_model(labels)
        self._announced = labels


def _proven(
    checkpoint: Checkpoint, found: FoundRetrieval, observe: Observe, threads: int
) -> Engine:
    layers = dense_layers_of(checkpoint.model, threads)
    proven = ModelRanker(checkpoint.model, found.proven, layers)
    canaries.replay(proven, checkpoint.canaries)
    ranker = ModelRanker(checkpoint.model, found.retriever, layers)
    return Engine(ranker, observe, Refiner(ranker, checkpoint.catalog))


def _warm_up(served: Served) -> None:
    popular = History.of(served.catalog.by_popularity_I[:10])
    wanted = Wanted(k=20, hidden_item_index=popular.item_index_N)
    posted = Job(wanted, history=popular)
    for size in WARM_UP_BATCH_SIZES:
        outcomes = served.engine.run([posted] * size)
        if served.kept_dim is not None:
            served.engine.run([Job(wanted, latent_D=outcome.latent_D) for outcome in outcomes])
