"""The first page of a bundle: what is in it, where it came from, and the digest of every file."""

import hashlib
from datetime import UTC, datetime
from typing import Any, Self, final

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from service.errors import CheckpointCorruptError, CheckpointTooNewError

FORMAT_VERSION = 1


@final
class FileRecord(BaseModel):
    """One file of the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    size_bytes: int


@final
class ColdItems(BaseModel):
    """Items that joined a trained model: what it has of them is predicted from their features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_index: int
    """They are the items from here on, in the order of the catalogue, ..."""

    count: int
    """... so many of them."""

    without_features: int
    """How many of them have no feature that the model's items share: they are the average item."""

    features: int
    """Categories and title words that vectors were predicted from."""

    explained: dict[str, float]
    """By table of the model: the share of variance that features explain, cross-validated."""

    lift: float
    """Added to their scores, in standard deviations of scores between items."""

    added_to: str
    """Version of the bundle that they were added to."""


@final
class Manifest(BaseModel):
    """What ``manifest.json`` holds; the sha256 of its bytes is the digest of the whole bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int
    """Rises when an older reader would misread the bundle."""

    name: str
    """The model's name in answers and in ``/models``."""

    architecture: str
    """A key of ``ARCHITECTURES``."""

    config: dict[str, Any]
    """The architecture's config: enough, with the weights, to rebuild the model."""

    training: dict[str, Any]
    """The whole training config: enough, with the data, to repeat the run."""

    data: dict[str, Any]
    """Fingerprint and counts of the training data."""

    metrics: dict[str, Any]
    """``valid`` and ``test`` figures of the weights in this bundle, and what was found beside.

    ``facts`` are choices made on validation users. Of a variational model ``posterior`` has the
    KL of every latent dimension, the greatest first: those in use are worth a traversal.
    """

    positive_threshold: float | None
    """Ratings below it are seen but not liked; None: every entry is liked, or is read as rated."""

    num_items: int
    """Items of the catalogue, rows of the item matrix."""

    num_users: int
    """Users with a row of their own in the model."""

    cold_items: tuple[ColdItems, ...] = ()
    """Items that were added after the training; ``metrics`` are without them."""

    versions: dict[str, str]
    """Libraries that wrote the bundle."""

    created_at: datetime
    """When, UTC."""

    files: dict[str, FileRecord]
    """Every other file of the bundle by name."""

    def to_json(self) -> bytes:
        """Write the manifest; equal manifests give equal bytes."""
        return self.model_dump_json(indent=2).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            CheckpointTooNewError: A later version of Foldin wrote it.
            CheckpointCorruptError: It is no manifest.
        """
        try:
            version = _FormatOnly.model_validate_json(content).format_version
            if version > FORMAT_VERSION:
                raise CheckpointTooNewError(
                    f"bundle format {version}; this version of Foldin reads up to {FORMAT_VERSION}"
                )
            manifest = cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the file"
            raise CheckpointCorruptError(f"manifest.json: {field}: {first['msg']}") from error
        _refuse_unusable(manifest)
        return manifest


@final
class _FormatOnly(BaseModel):
    format_version: int


def _refuse_unusable(manifest: Manifest) -> None:
    """Refuse what can be read and not be written again: answers show the one or other of it."""
    try:
        manifest.created_at.astimezone(UTC)
    except (OverflowError, ValueError) as error:  # the years 0 and 10000 in UTC
        raise CheckpointCorruptError("manifest.json: created_at: no date in UTC") from error
    try:
        orjson.dumps(manifest.model_dump())
    except orjson.JSONEncodeError as error:
        raise CheckpointCorruptError(f"manifest.json: {error}") from error


def digest_of(manifest_json: bytes) -> str:
    """Give the digest of a bundle: the sha256 of its manifest's bytes, in hex."""
    return hashlib.sha256(manifest_json).hexdigest()


def version_of(manifest: Manifest, digest: str) -> str:
    """Name a bundle: sortable by time, and bound to its content."""
    return f"{manifest.created_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{digest[:8]}"
