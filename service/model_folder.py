"""A model directory as a running service watches it: which bundle it names, and did that change."""

import os
from pathlib import Path

from service.checkpoint import MANIFEST, resolve
from service.errors import CheckpointError, CheckpointMissingError
from service.manifest import digest_of


def bundle_at(model_dir: Path, version: str) -> Path:
    """Give the place of a version: below the model directory, or the one bundle that this is."""
    bundle = model_dir / version
    return bundle if (bundle / MANIFEST).is_file() else model_dir


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
