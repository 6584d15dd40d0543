"""The models that answer, by name, and which of them answers whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self, final

from service.catalog import Catalog
from service.deployment import Deployment, Served
from service.errors import UnknownModelError
from service.split import Split


class Chosen(NamedTuple):
    """The model that answers a request.

    Attributes:
        served: The model.
        variant: The arm of the split that the user is in; None where no split chose the model.
    """

    served: Served
    variant: str | None = None


@final
@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """All models of a service. Each may be exchanged for another bundle while requests run.

    Attributes:
        deployments: One a model, the default one first.
        split: Among which models users are dealt out, all of them served here; None: a request
            that names no model is answered by the default one.
    """

    deployments: tuple[Deployment, ...]
    split: Split | None = None

    @classmethod
    def of_one(cls, deployment: Deployment) -> Self:
        """Serve a single model."""
        return cls((deployment,))

    @property
    def models(self) -> Sequence[Served]:
        """What answers now, the default one first."""
        return [deployment.current for deployment in self.deployments]

    def served(self, name: str | None) -> Served:
        """Find the model that a request asks for; None means the default one.

        Raises:
            UnknownModelError: No such model is served.
        """
        if name is None:
            return self.deployments[0].current
        return self.deployment(name).current

    @property
    def catalogs(self) -> Sequence[Catalog]:
        """What items there are, by model, those of the default one first."""
        return [served.catalog for served in self.models]

    def deployment(self, name: str) -> Deployment:
        """Find a model by what it is called now.

        Raises:
            UnknownModelError: No such model is served.
        """
        for deployment in self.deployments:
            if deployment.current.name == name:
                return deployment
        raise UnknownModelError(name, [served.name for served in self.models])

    def chosen(self, name: str | None, user_id: str | None) -> Chosen:
        """Choose who answers: the model asked for, else the user's arm, else the default one.

        Raises:
            UnknownModelError: No such model is served.
        """
        if name is not None or self.split is None or user_id is None:
            return Chosen(self.served(name))
        variant = self.split.arm(user_id)
        return Chosen(self.served(variant), variant)
