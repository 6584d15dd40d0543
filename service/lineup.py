"""Which models the settings name, where they lie, and the fleet that comes of them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self, final

from service.agreement import Agreement
from service.deployment import Deployment, Loader
from service.errors import SettingsError
from service.fleet import Fleet
from service.model_folder import bundle_at, models_in
from service.reloader import Reloader
from service.settings import PREFIX, Settings
from service.split import Split

# Of the one model of a service, whose name may change with its bundle.
ONLY: Final = "model"


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where a model lies.

    Attributes:
        path: A bundle, or a directory whose ``CURRENT`` names one.
        name: What requests call it; None: what its bundle calls itself.
    """

    path: Path
    name: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Lineup:
    """The models of a service, before any of them is loaded.

    Read once a service, and not once a worker: a folder that comes or goes counts from the next
    start on.

    Attributes:
        places: The default one first.
        split: Among which of them users are dealt out.
        shadows: Names of those that are only tried.
        agreements: Folder of the agreements of several workers; None: there is one process.
    """

    places: tuple[Place, ...]
    split: Split | None = None
    shadows: tuple[str, ...] = ()
    agreements: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Read the settings, and the names of folders.

        Raises:
            SettingsError: They name a model that is not there, or a shadow twice.
            CheckpointMissingError: There is no folder with a model.
        """
        split = settings.split and Split.parse(settings.split, settings.split_name)
        shadows = _shadows(settings.shadow or "")
        if settings.models_dir is None:
            if split or shadows or settings.default_model:
                raise SettingsError(
                    f"{PREFIX}SPLIT, SHADOW and DEFAULT_MODEL are of several models: "
                    f"set {PREFIX}MODELS_DIR"
                )
            return cls((Place(settings.model_dir),))
        paths = models_in(settings.models_dir)
        arms = split.models if split else ()
        default = settings.default_model or next(iter(arms or paths))
        for name in (default, *arms, *shadows):
            if name not in paths:
                known = ", ".join(paths)
                raise SettingsError(f"no model {name!r} in {settings.models_dir}; there: {known}")
        places = [Place(path, name) for name, path in paths.items()]
        places.sort(key=lambda place: place.name != default)
        return cls(tuple(places), split or None, shadows)

    def open(self, loader: Loader) -> Fleet:
        """Load every model, as the workers have agreed; blocks for as long as that takes.

        Args:
            loader: Makes bundles ready.

        Raises:
            CheckpointError: A model cannot be served.
            SettingsError: As of ``Loader.load``.
        """
        deployments = []
        for place in self.places:
            agreement = self._agreement(place)
            choice = agreement and agreement.choice()
            # CURRENT may name a bundle that the others have refused by now.
            path = bundle_at(place.path, choice.current) if choice else place.path
            deployments.append(Deployment.open(path, replace(loader, name=place.name)))
        return Fleet(tuple(deployments), self.split)

    def reloaders(self, fleet: Fleet, loader: Loader) -> tuple[Reloader, ...]:
        """Give every model of the fleet, which this lineup has opened, what exchanges it."""
        return tuple(
            Reloader(
                deployment,
                place.path,
                replace(loader, name=place.name).load,
                loader.telemetry,
                self._agreement(place),
            )
            for place, deployment in zip(self.places, fleet.deployments, strict=True)
        )

    def _agreement(self, place: Place) -> Agreement | None:
        if self.agreements is None:
            return None
        return Agreement(self.agreements / (place.name or ONLY))


def _shadows(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"{PREFIX}SHADOW names {name!r} twice")
    return tuple(names)
