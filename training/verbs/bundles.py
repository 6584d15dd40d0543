"""``foldin inspect``, ``verify`` and ``serve``: what can be done with a bundle that is there."""

from pathlib import Path
from typing import Annotated, Any

import typer

from service import canaries, checkpoint
from service.__main__ import serve as run_service
from service.device import pick_device
from service.model_folder import has_model
from service.ranker import ModelRanker
from service.settings import Settings
from training.posterior import active_kl
from training.verbs.options import CheckpointArgument, Device, DeviceOption, console


def inspect(path: CheckpointArgument) -> None:
    """Show what a bundle holds: origin, sizes, metrics, digest."""
    loaded = checkpoint.load(path)
    shown: dict[str, Any] = loaded.manifest.model_dump(mode="json")
    posterior = shown["metrics"].get("posterior")
    if posterior:  # a line for every dimension would push all else off the screen
        posterior["active_kl"] = active_kl(posterior)
        del posterior["kl_per_dimension"]
    console.print_json(data={"digest": loaded.digest, "version": loaded.version, **shown})


def verify(path: CheckpointArgument, device: DeviceOption = "auto") -> None:
    """Check every digest of a bundle and replay its canaries."""
    loaded = checkpoint.load(path, pick_device(device))
    canaries.replay(ModelRanker(loaded.model), loaded.canaries)
    console.print(
        f"{loaded.version}: {len(loaded.manifest.files)} files as written, "
        f"{len(loaded.canaries)} canaries answered as by the trainer",
        highlight=False,
        soft_wrap=True,
    )


def serve(
    models: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Model directory, bundle, or a folder of several."),
    ],
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes.")] = None,
    device: Annotated[Device | None, typer.Option(help="Where to compute.")] = None,
) -> None:
    """Serve one model, or each of a folder; what is not said here comes from FOLDIN_ variables."""
    given = {"host": host, "port": port, "workers": workers, "device": device}
    chosen: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if has_model(models):
        run_service(Settings(model_dir=models, models_dir=None, **chosen))
    else:
        run_service(Settings(models_dir=models, **chosen))
