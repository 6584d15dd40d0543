"""Everything that decides a training run: TOML in, the same TOML in the checkpoint."""

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self, final

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from service.autoencoders import ARCHITECTURES
from training.errors import BadInputError, first_fault
from training.unread_settings import refuse_unread

# A draw and its weight take 24 bytes and more beside the scores: so many take 240 MB, and stand
# for as many items as Foldin is planned for. More is a slip of the finger, or wants all items.
MAX_NEGATIVES: Final = 10_000_000


@final
class TrainingConfig(BaseModel):
    """One run: model, loss, optimiser, schedule, chance. Frozen; written into the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str
    """A key of ``ARCHITECTURES``."""

    architecture: dict[str, Any] = Field(default_factory=dict)
    """Fields of the architecture's config that differ from its defaults."""

    loss: Literal["multinomial", "logistic", "squared", "masked"] = "multinomial"
    """How far a reconstruction is from the history: two negative log-likelihoods, and squares.

    Models of ratings have the last one, squares over the ratings that are there and no others.
    """

    unobserved_weight: float = Field(1.0, ge=0)
    """Weight of an absent item's square beside the 1 of an observed one (squared loss)."""

    negatives: int = Field(0, ge=0, le=MAX_NEGATIVES)
    """Absent items drawn for each batch to stand for all of them; 0 takes all, exactly.

    For catalogues whose scores are what a step spends its time on: hundreds of thousands of items.
    """

    row_updates: Literal["auto", "dense"] = "auto"
    """Which rows of the tables of items and users Adam moves in a step.

    auto: with negatives those that the batch touches; a row catches up on the steps that it
    missed when it is touched again, as dense Adam would have moved it (``optimizers`` says how
    nearly). dense: all rows, in every step; weight decay needs it and gets it.
    """

    learning_rate: float = Field(1e-3, gt=0)
    """Step of Adam, at the start."""

    decay: Literal["none", "cosine"] = "cosine"
    """How the step shrinks over the run: not at all, or to zero along half a cosine."""

    weight_decay: float = Field(0.0, ge=0)
    """L2 on all weights, inside Adam."""

    batch_size: int = Field(500, ge=1)
    """Users a step."""

    epochs: int = Field(100, ge=1)
    """Passes over the training users, at most."""

    patience: int = Field(20, ge=1)
    """Epochs without a better validation NDCG@100, or RMSE of ratings, that end training."""

    max_grad_norm: float = Field(5.0, gt=0)
    """Gradients longer than this are scaled down to it: one odd batch cannot wreck a run."""

    beta_cap: float = Field(0.2, ge=0)
    """Weight of the KL term once it is annealed (variational models).

    RecVAE multiplies it by the number of the user's items: there it is the gamma of the paper.
    """

    beta_schedule: Literal["linear", "constant", "cyclical"] = "linear"
    """How beta comes to its cap: in a line, not at all, or in a line again and again.

    Cyclical as in Fu et al. (2019): each cycle frees the posterior once more.
    """

    anneal_fraction: float = Field(0.85, ge=0, le=1)
    """Share of all steps, or of each cycle's, over which beta climbs from 0 to its cap.

    A share, not a number of steps: with the published 200,000 steps small data never anneals.
    """

    cycles: int = Field(4, ge=1)
    """Climbs of a cyclical beta over all epochs."""

    seed: int = Field(0, ge=0, lt=2**63)
    """Start of all chance: weights, order, noise."""

    threads: int = Field(0, ge=0)
    """Torch threads; 0 takes one per core. Other counts add in other orders: other last digits."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto prefers CUDA."""

    @field_validator("negatives")
    @classmethod
    def _needs_no_sample(cls, negatives: int, info: ValidationInfo) -> int:
        if negatives and info.data.get("loss") in {"squared", "masked"}:
            raise ValueError("squares have a closed form, or are over ratings alone: leave it at 0")
        return negatives

    def to_json(self) -> bytes:
        """Write the config; equal configs give equal bytes."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Check settings of a run, architecture fields among them or in a table of their own.

        Raises:
            BadInputError: An unknown model or setting, a value out of range, or a setting that
                the model would not read.
        """
        own = {key: value for key, value in settings.items() if key in cls.model_fields}
        name = own.get("model")
        if name not in ARCHITECTURES:
            raise BadInputError(f"unknown model {name!r}; there are: {', '.join(ARCHITECTURES)}")
        reads_ratings = ARCHITECTURES[name].module.reads_ratings
        if reads_ratings:
            own = {"loss": "masked", **own}
        if (own.get("loss") == "masked") != reads_ratings:
            raise BadInputError(f"{name} cannot have the loss {own['loss']!r}")
        shape = {key: value for key, value in settings.items() if key not in cls.model_fields}
        try:
            config = cls(**own)
            config = config.model_copy(update={"architecture": {**config.architecture, **shape}})
            _refuse_unknown(config)
            TypeAdapter(ARCHITECTURES[name].config).validate_python(config.architecture)
        except ValidationError as error:
            raise BadInputError(f"setting {first_fault(error)}") from error
        refuse_unread(name, {**own, **config.architecture}, config.loss)
        return config


def _refuse_unknown(config: TrainingConfig) -> None:
    ours = set(TrainingConfig.model_fields) - {"model", "architecture"}
    theirs = {field.name for field in dataclasses.fields(ARCHITECTURES[config.model].config)}
    for key in config.architecture:
        if key not in theirs:
            known = ", ".join(sorted(ours | theirs))
            raise BadInputError(f"{config.model} has no setting {key!r}; there are: {known}")


def read_toml(path: Path) -> dict[str, Any]:
    """Read the settings of a TOML file.

    Raises:
        BadInputError: It cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInputError(f"{path}: {error}") from error


def parse_setting(text: str) -> tuple[str, Any]:
    """Read ``key=value``, the value as TOML has it; a bare word is a string.

    Raises:
        BadInputError: There is no ``=``.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise BadInputError(f"--set {text!r}: write key=value")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
