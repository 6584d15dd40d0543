"""The bundle: a directory that holds all a service needs to answer as the trainer did.

``manifest.json``, ``model.safetensors``, ``catalog.json``, ``users.json`` (models with user
rows), ``canaries.json``. JSON and safetensors only: nothing in a bundle can execute.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import orjson
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from service import canaries as canary_file
from service.autoencoders import ARCHITECTURES
from service.autoencoders.base import Autoencoder
from service.canaries import Canary
from service.catalog import Catalog
from service.errors import (
    CatalogMismatchError,
    CheckpointCorruptError,
    CheckpointDigestError,
    CheckpointMissingError,
    CheckpointNotFiniteError,
    CheckpointTruncatedError,
    CheckpointUnsafeError,
)
from service.manifest import FileRecord, Manifest, digest_of, version_of
from service.publication import POINTER, publish

MANIFEST: Final = "manifest.json"
WEIGHTS: Final = "model.safetensors"
CATALOG: Final = "catalog.json"
USERS: Final = "users.json"
CANARIES: Final = "canaries.json"

# A pickle (protocol 2 and later) or the zip archive that torch.save writes around one.
PICKLE_STARTS: Final = (b"\x80", b"PK\x03\x04")
# A safetensors file begins with the length of its header, 8 bytes, little-endian: one file in 32
# has 0x80 there first. Zeros and the header's brace follow, which no pickle has at that place.
SAFETENSORS_GOES_ON: Final = b"\0\0\0\0\0{"


@final
@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model with everything that belongs to it.

    Attributes:
        model: Frozen, on the device that ``load`` was given.
        catalog: The items, in the order of the model's item matrix.
        user_ids: Users with a row of their own, in the order of the rows; mostly empty.
        canaries: The trainer's answers.
        manifest: Origin, metrics, digests.
        digest: sha256 of the manifest, the identity of all of it.
    """

    model: Autoencoder
    catalog: Catalog
    user_ids: tuple[str, ...]
    canaries: tuple[Canary, ...]
    manifest: Manifest
    digest: str

    @property
    def version(self) -> str:
        """The bundle's name, as answers give it."""
        return version_of(self.manifest, self.digest)


def build_model(architecture: str, config: object, num_items: int, num_users: int) -> Autoencoder:
    """Make a model with fresh weights from its name and config.

    Args:
        architecture: A key of ``ARCHITECTURES``.
        config: The architecture's frozen config, or the JSON form of one.
        num_items: I.
        num_users: U, the users that get a row in a model that has such rows.

    Raises:
        CheckpointCorruptError: No such architecture, or a config that does not fit it.
    """
    found = ARCHITECTURES.get(architecture)
    if found is None:
        raise CheckpointCorruptError(f"unknown architecture {architecture!r}")
    try:
        valid_config = TypeAdapter(found.config).validate_python(config)
        return found.build(valid_config, num_items, num_users)
    except (ValidationError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointCorruptError(f"the config does not fit {architecture}: {error}") from error


def bundle_files(
    model: Autoencoder, catalog: Catalog, user_ids: Sequence[str], canaries: Sequence[Canary]
) -> dict[str, bytes]:
    """Serialise the parts of a bundle, all but the manifest."""
    catalog_json = catalog.to_json()
    # A frozen model holds float32 weights in float64; rounding them back loses nothing.
    weights = {
        name: (tensor.float() if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in model.state_dict().items()
    }
    # The weights name the catalogue they were trained with: a swap shows, whoever made it.
    bound_to = {"catalog_sha256": hashlib.sha256(catalog_json).hexdigest()}
    files = {
        WEIGHTS: safetensors_bytes(weights, metadata=bound_to),
        CATALOG: catalog_json,
        CANARIES: canary_file.to_json(canaries),
    }
    if user_ids:
        files[USERS] = orjson.dumps(list(user_ids))
    return files


def save(manifest: Manifest, files: Mapping[str, bytes], model_dir: Path) -> Path:
    """Write a bundle under ``model_dir/<version>`` and point ``CURRENT`` at it; see ``publish``.

    Args:
        manifest: Its ``files`` are filled in here.
        files: From ``bundle_files``.
        model_dir: Made if it is not there.

    Returns:
        The directory of the new bundle.
    """
    records = {
        name: FileRecord(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        for name, content in files.items()
    }
    manifest = manifest.model_copy(update={"files": records})
    manifest_json = manifest.to_json()
    version = version_of(manifest, digest_of(manifest_json))
    return publish(version, {**files, MANIFEST: manifest_json}, model_dir)


def load(path: Path, device: torch.device | None = None) -> Checkpoint:
    """Read and verify a bundle.

    Args:
        path: A bundle, or a model directory whose ``CURRENT`` names one.
        device: Where the weights go; the CPU by default, where they stay memory-mapped.

    Raises:
        CheckpointMissingError: Nothing there.
        CheckpointTooNewError: Written by a later version of Foldin.
        CheckpointCorruptError: Its subclasses say what is wrong; nothing was executed.
    """
    bundle = resolve(path)
    manifest_json = _read(bundle / MANIFEST)
    manifest = Manifest.from_json(manifest_json)
    digest = digest_of(manifest_json)
    if bundle != path and bundle.name != version_of(manifest, digest):
        raise CheckpointDigestError(f"{bundle / MANIFEST} is not the one that {POINTER} names")
    expected_files = {WEIGHTS, CATALOG, CANARIES} | ({USERS} if manifest.num_users else set())
    if set(manifest.files) != expected_files:
        raise CheckpointCorruptError(f"{MANIFEST} lists other files than a bundle has")
    for name, expected in manifest.files.items():
        _verify(bundle / name, expected)
    catalog = Catalog.from_json(_read(bundle / CATALOG))
    if len(catalog) != manifest.num_items:
        raise CatalogMismatchError(
            f"{CATALOG} has {len(catalog)} items, the model {manifest.num_items}"
        )
    model = _load_model(bundle, manifest, device or torch.device("cpu"))
    canaries_json = _read(bundle / CANARIES)
    canaries = canary_file.from_json(canaries_json, manifest.num_items, manifest.num_users)
    user_ids = _load_user_ids(bundle, manifest)
    return Checkpoint(model, catalog, user_ids, tuple(canaries), manifest, digest)


def resolve(path: Path) -> Path:
    """Give the bundle that a path means: itself, or the one that its ``CURRENT`` names.

    Raises:
        CheckpointMissingError: It means none.
    """
    if (path / MANIFEST).is_file():
        return path
    if not (path / POINTER).is_file():
        raise CheckpointMissingError(f"no {MANIFEST} and no {POINTER} in {path}")
    version = _read(path / POINTER).decode(errors="replace").strip()
    if Path(version).name != version or version in {"", ".", ".."}:
        raise CheckpointCorruptError(f"{path / POINTER} names no bundle: {version[:80]!r}")
    return path / version


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointMissingError(f"{path} cannot be read: {error.strerror}") from error


def _verify(path: Path, expected: FileRecord) -> None:
    if not path.is_file():
        raise CheckpointMissingError(f"{path} is missing")
    with path.open("rb") as file:
        start = file.read(9)
        if start.startswith(PICKLE_STARTS) and not start.endswith(SAFETENSORS_GOES_ON):
            raise CheckpointUnsafeError(f"{path} is a pickle; it was not opened")
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size_bytes = path.stat().st_size
    if size_bytes < expected.size_bytes:
        raise CheckpointTruncatedError(
            f"{path} has {size_bytes} of {expected.size_bytes} bytes: a copy that was cut short?"
        )
    if digest != expected.sha256:
        error = CatalogMismatchError if path.name == CATALOG else CheckpointDigestError
        raise error(f"{path} is not the file that the manifest describes")


def _load_model(bundle: Path, manifest: Manifest, device: torch.device) -> Autoencoder:
    with torch.device("meta"):  # shapes only: the weights come from the file
        model = build_model(
            manifest.architecture, manifest.config, manifest.num_items, manifest.num_users
        )
    try:
        with safe_open(bundle / WEIGHTS, framework="pt", device=str(device)) as file:
            metadata: dict[str, Any] = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        _refuse_other_types(weights, model)
        _refuse_not_finite(weights)
        model.load_state_dict(weights, assign=True)
        if model.linear is not None:
            model.linear.check()
    except (SafetensorError, RuntimeError, OSError, ValueError) as error:
        message = str(error).splitlines()[0]
        raise CheckpointCorruptError(f"{bundle / WEIGHTS}: {message}") from error
    if metadata.get("catalog_sha256") != manifest.files[CATALOG].sha256:
        raise CatalogMismatchError(f"{bundle / WEIGHTS} was trained with another catalogue")
    return model.freeze()


def _refuse_other_types(weights: Mapping[str, Tensor], model: Autoencoder) -> None:
    for name, expected in model.state_dict().items():
        if name in weights and weights[name].dtype != expected.dtype:
            dtype = weights[name].dtype
            raise CheckpointCorruptError(f"{WEIGHTS}: {name} is {dtype}, not {expected.dtype}")


def _refuse_not_finite(weights: Mapping[str, Tensor]) -> None:
    for name, tensor in weights.items():
        if not tensor.is_floating_point() or tensor.numel() == 0:
            continue
        # Both are NaN where any entry is; no mask as large as the table comes of it.
        low, high = tensor.aminmax()
        if not bool(torch.isfinite(low) & torch.isfinite(high)):
            raise CheckpointNotFiniteError(f"{WEIGHTS}: {name} has a NaN or an infinity")


def _load_user_ids(bundle: Path, manifest: Manifest) -> tuple[str, ...]:
    if manifest.num_users == 0:
        return ()
    try:
        user_ids = TypeAdapter(tuple[str, ...]).validate_json(_read(bundle / USERS))
    except ValidationError as error:
        raise CheckpointCorruptError(f"{bundle / USERS} is no list of user ids") from error
    if len(user_ids) != manifest.num_users:
        raise CheckpointCorruptError(
            f"{bundle / USERS} has {len(user_ids)} users, the model {manifest.num_users}"
        )
    return user_ids
