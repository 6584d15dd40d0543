"""A model directory as a running service watches it: which bundle it names, and did that change."""

import os
from pathlib import Path

from service.checkpoint import MANIFEST, resolve
from service.errors import CheckpointError, CheckpointMissingError, SettingsError
from service.manifest import digest_of
from service.publication import POINTER


def bundle_at(model_dir: Path, version: str) -> Path:
    """Give the place of a version: below the model directory, or the one bundle that this is."""
    bundle = model_dir / version
    return bundle if (bundle / MANIFEST).is_file() else model_dir


def has_model(path: Path) -> bool:
    """Tell a bundle or a model directory from any other path."""
    return (path / POINTER).is_file() or (path / MANIFEST).is_file()


def models_in(models_dir: Path) -> dict[str, Path]:
    """Give the bundles and model directories of a directory by folder name, sorted.

    Folders that are neither are passed over, and so are hidden ones: a copy that is still written
    may have such a name.

    Raises:
        CheckpointMissingError: There is none.
        SettingsError: The name of one is not UTF-8, as those in requests are.
    """
    try:
        folders = sorted(path for path in models_dir.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise CheckpointMissingError(f"{models_dir} cannot be read: {error.strerror}") from error
    found = {folder.name: folder for folder in folders if has_model(folder)}
    for name, folder in found.items():
        if not _is_utf8(name):
            raise SettingsError(f"the name of {str(folder)!r} is not UTF-8")
    if not found:
        raise CheckpointMissingError(f"no folder of {models_dir} has a {POINTER} or a {MANIFEST}")
    return found


def digest_at(path: Path) -> str:
    """Give the digest of the bundle that a path means, of which only the first page is read.

    Raises:
        CheckpointMissingError: There is none.
        CheckpointCorruptError: ``CURRENT`` names none.
    """
    manifest = resolve(path) / MANIFEST
    try:
        return digest_of(manifest.read_bytes())
    except OSError as error:
        raise CheckpointMissingError(f"{manifest} cannot be read: {error.strerror}") from error


def means(path: Path, version: str) -> bool:
    """Tell whether a path means the bundle of a version, of which only the first page is read.

    Raises:
        CheckpointError: As of ``digest_at``.
    """
    return digest_at(path).startswith(version.rpartition("-")[2])


def fingerprint(path: Path) -> str:
    """Tell states of a path apart: another ``CURRENT``, or another file in the bundle it names.

    Reads no more than names, sizes and times: it may be asked for every second. A copy under way
    gives another fingerprint each time, and a path that means no bundle has one, too.
    """
    try:
        bundle = resolve(path)
        with os.scandir(bundle) as files:
            stats = [(file.name, file.stat()) for file in files]
    except (CheckpointError, OSError) as error:
        return str(error)
    seen = sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
    return f"{bundle}: {seen}"


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # the system's bytes, kept as halves of surrogate pairs
        return False
    return True
