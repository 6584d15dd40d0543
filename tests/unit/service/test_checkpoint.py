"""A bundle is refused, with the reason by name, whenever it is not what its trainer wrote."""

import hashlib
import io
import json
import pickle
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from service import canaries, checkpoint
from service.catalog import Catalog
from service.checkpoint import CATALOG, MANIFEST, USERS, WEIGHTS, build_model, load
from service.errors import (
    CanaryMismatchError,
    CatalogMismatchError,
    CheckpointCorruptError,
    CheckpointDigestError,
    CheckpointError,
    CheckpointMissingError,
    CheckpointTooNewError,
    CheckpointTruncatedError,
    CheckpointUnsafeError,
)
from service.histories import UNKNOWN_USER, History
from service.manifest import FORMAT_VERSION, FileRecord, Manifest
from service.publication import POINTER
from service.ranker import ModelRanker

NUM_ITEMS = 12
USER_IDS = ("u1", "u2", "u3")


def write_bundle(model_dir: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    model = build_model("cdae", {"latent_dim": 4}, NUM_ITEMS, len(USER_IDS)).eval()
    torch.nn.init.normal_(model.item_bias_I)
    catalog = Catalog(
        item_ids=tuple(f"{seed}-{index}" for index in range(NUM_ITEMS)),
        titles=("",) * NUM_ITEMS,
        categories=((),) * NUM_ITEMS,
        popularity_I=np.arange(NUM_ITEMS),
    )
    histories = [History.of([]), History.of([1, 5]), History.of(range(NUM_ITEMS))]
    recorded = canaries.record(ModelRanker(model), histories, [UNKNOWN_USER, 2, 0])
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name="cdae",
        architecture="cdae",
        config={"latent_dim": 4},
        training={},
        data={},
        metrics={},
        positive_threshold=4.0,
        num_items=NUM_ITEMS,
        num_users=len(USER_IDS),
        versions={},
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        files={},
    )
    files = checkpoint.bundle_files(model, catalog, USER_IDS, recorded)
    return checkpoint.save(manifest, files, model_dir)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "models")


def rewrite_manifest(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit a manifest as an attacker would, the digests of all files brought up to date."""
    manifest = json.loads((bundle / MANIFEST).read_bytes())
    for name, entry in manifest["files"].items():
        content = (bundle / name).read_bytes()
        entry.update(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def nothing(manifest: dict[str, Any]) -> None:
    del manifest


def rewrite_weights(bundle: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    with_metadata = {"catalog_sha256": hashlib.sha256((bundle / CATALOG).read_bytes()).hexdigest()}
    weights = load_file(bundle / WEIGHTS)
    change(weights)
    save_file(weights, bundle / WEIGHTS, metadata=with_metadata)
    rewrite_manifest(bundle, nothing)


def test_a_bundle_loads_as_it_was_saved(bundle: Path) -> None:
    loaded = load(bundle)
    assert loaded.user_ids == USER_IDS
    assert loaded.catalog.item_ids[3] == "0-3"
    assert loaded.manifest.positive_threshold == 4
    assert loaded.version == bundle.name
    assert not loaded.model.training
    canaries.replay(ModelRanker(loaded.model), loaded.canaries)


def test_the_pointer_names_the_newest_bundle(bundle: Path) -> None:
    newer = write_bundle(bundle.parent, seed=1)
    assert (bundle.parent / POINTER).read_text() == newer.name
    assert load(bundle.parent).catalog.item_ids[0] == "1-0"
    assert load(bundle).catalog.item_ids[0] == "0-0"


def test_nothing_temporary_is_left_behind(bundle: Path) -> None:
    assert sorted(path.name for path in bundle.parent.iterdir()) == sorted([bundle.name, POINTER])


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, CATALOG, USERS, "canaries.json"])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(CheckpointMissingError, match=name):
        load(bundle)


def test_an_empty_directory_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissingError, match="CURRENT"):
        load(tmp_path)


@pytest.mark.parametrize("name", [WEIGHTS, CATALOG, USERS])
def test_a_truncated_file_is_refused(bundle: Path, name: str) -> None:
    path = bundle / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointTruncatedError, match=name):
        load(bundle)


def test_a_flipped_bit_in_the_weights_is_refused(bundle: Path) -> None:
    content = bytearray((bundle / WEIGHTS).read_bytes())
    content[-3] ^= 1
    (bundle / WEIGHTS).write_bytes(content)
    with pytest.raises(CheckpointDigestError, match=WEIGHTS):
        load(bundle)


def test_another_models_catalogue_is_refused(bundle: Path) -> None:
    shutil.copy(write_bundle(bundle.parent, seed=1) / CATALOG, bundle / CATALOG)
    with pytest.raises(CatalogMismatchError):
        load(bundle)
    rewrite_manifest(bundle, nothing)  # even with digests made to fit: the weights know theirs
    with pytest.raises(CatalogMismatchError, match="another catalogue"):
        load(bundle)


def test_a_catalogue_of_another_size_is_refused(bundle: Path) -> None:
    columns = json.loads((bundle / CATALOG).read_bytes())
    for column in columns.values():
        column.pop()
    (bundle / CATALOG).write_text(json.dumps(columns))
    rewrite_manifest(bundle, nothing)
    with pytest.raises(CatalogMismatchError, match="11 items"):
        load(bundle)


def test_an_edited_manifest_is_not_the_one_that_current_names(bundle: Path) -> None:
    rewrite_manifest(bundle, lambda manifest: manifest.update(name="innocent"))
    with pytest.raises(CheckpointDigestError, match=POINTER):
        load(bundle.parent)


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return Path.touch, (self._path,)  # type: ignore[return-value]  # the pickle protocol is looser


@pytest.mark.parametrize("length", [0x80, 0x280, 0x0580, 0x1_0280])
def test_weights_whose_header_is_as_long_as_a_pickle_begins_are_no_pickle(
    tmp_path: Path, length: int
) -> None:
    content = length.to_bytes(8, "little") + b"{}".ljust(length)
    (tmp_path / WEIGHTS).write_bytes(content)
    expected = FileRecord(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    checkpoint._verify(tmp_path / WEIGHTS, expected)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_is_refused_and_never_executed(bundle: Path, zipped: bool) -> None:
    canary = bundle / "executed"
    content = pickle.dumps(Bomb(canary))
    if zipped:  # what torch.save writes
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("archive/data.pkl", content)
        content = archive.getvalue()
    (bundle / WEIGHTS).write_bytes(content)
    rewrite_manifest(bundle, nothing)
    with pytest.raises(CheckpointUnsafeError):
        load(bundle)
    assert not canary.exists()


def test_a_newer_format_is_refused_before_its_fields_are_read(bundle: Path) -> None:
    (bundle / MANIFEST).write_text(json.dumps({"format_version": FORMAT_VERSION + 1, "new": 1}))
    with pytest.raises(CheckpointTooNewError, match=str(FORMAT_VERSION + 1)):
        load(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(architecture="unheard-of"), "unheard-of"),
        (lambda m: m.update(config={"latent_dim": "wide"}), "latent_dim"),
        (lambda m: m.update(config={"latent_dim": 5}), "size mismatch|loading"),
        (lambda m: m.update(config={"latent_dim": -5}), "latent_dim"),
        (lambda m: m.update(files={}), "other files"),
        (lambda m: m["files"].pop("canaries.json"), "other files"),
        (lambda m: m["files"].update({"../../etc/passwd": m["files"][CATALOG]}), "other files"),
        (lambda m: m.update(surprise=1), "surprise"),
        (lambda m: m.pop("created_at"), "created_at"),
        (lambda m: m.update(num_users=2), "size mismatch|loading|canaries"),
        (lambda m: m.update(num_users=0), "other files"),
        (lambda m: m.update(created_at="0001-01-01T00:00:00+14:00"), "created_at"),
        (lambda m: m.update(created_at="9999-12-31T23:59:59-14:00"), "created_at"),
        (lambda m: m.update(metrics={"test": {"users": 2**70}}), "64"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    bundle: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    rewrite_manifest(bundle, change)
    with pytest.raises(CheckpointCorruptError, match=message):
        load(bundle)


def test_a_manifest_that_is_no_json_is_refused(bundle: Path) -> None:
    (bundle / MANIFEST).write_bytes(b"\x00\xff not json")
    with pytest.raises(CheckpointCorruptError, match=MANIFEST):
        load(bundle)


def test_weights_with_other_values_fail_the_canaries(bundle: Path) -> None:
    rewrite_weights(bundle, lambda weights: weights["item_vectors_IH"].add_(0.1))
    loaded = load(bundle)
    with pytest.raises(CanaryMismatchError, match="canary 1"):
        canaries.replay(ModelRanker(loaded.model), loaded.canaries)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("item_vectors_IH", torch.float64),
        ("item_vectors_IH", torch.float16),
        ("item_vectors_IH", torch.bfloat16),
        ("item_bias_I", torch.complex64),
    ],
)
def test_weights_of_another_type_are_refused(bundle: Path, name: str, dtype: torch.dtype) -> None:
    rewrite_weights(bundle, lambda weights: weights.update({name: weights[name].to(dtype)}))
    with pytest.raises(CheckpointCorruptError, match=f"{name} is {dtype}"):
        load(bundle)


def test_offsets_that_are_no_integers_are_refused(tiny_bundle: Callable[..., Path]) -> None:
    (bundle,) = (path.parent for path in tiny_bundle("edlae").glob(f"*/{MANIFEST}"))
    name = "linear.offset_I1"
    rewrite_weights(bundle, lambda weights: weights.update({name: weights[name].float()}))
    with pytest.raises(CheckpointCorruptError, match=rf"{name} is torch\.float32"):
        load(bundle)


@pytest.mark.parametrize("version", ["", "..", "../elsewhere", "/etc", "gone"])
def test_a_pointer_that_leaves_the_directory_is_refused(bundle: Path, version: str) -> None:
    (bundle.parent / POINTER).write_text(version)
    with pytest.raises(CheckpointError):
        load(bundle.parent)


@pytest.mark.parametrize("content", ["{}", '["u1"]', "[1, 2, 3]", "nonsense"])
def test_a_users_file_that_does_not_fit_is_refused(bundle: Path, content: str) -> None:
    (bundle / USERS).write_text(content)
    rewrite_manifest(bundle, nothing)
    with pytest.raises(CheckpointCorruptError, match=USERS):
        load(bundle)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux alone has")
@pytest.mark.parametrize("architecture", ["multvae", "cdae", "recvae"])
def test_the_tables_of_a_loaded_model_are_the_memory_of_the_file(
    tiny_bundle: Callable[..., Path], architecture: str
) -> None:
    model = load(tiny_bundle(architecture, num_items=3_000)).model
    maps = Path("/proc/self/maps").read_text()
    mapped = [
        range(int(start, 16), int(end, 16))
        for start, end in re.findall(
            rf"^(\w+)-(\w+) .*{architecture}.*{WEIGHTS}$", maps, re.MULTILINE
        )
    ]
    tables = [table for table in model.state_dict().values() if 3_000 in table.shape]
    assert len(tables) >= 3
    assert all(any(table.data_ptr() in memory for memory in mapped) for table in tables)
