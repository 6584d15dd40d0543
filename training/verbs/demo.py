"""``foldin demo``: from nothing to a page of recommendations."""

from pathlib import Path
from typing import Annotated

import typer

from service.__main__ import serve as run_service
from service.settings import Settings
from training.config import TrainingConfig
from training.data.datasets import DataOptions
from training.presets import preset
from training.verbs.options import OutOption, console, load
from training.verbs.train import train_and_tell


def demo(
    *,
    port: Annotated[int, typer.Option(help="Port of the page and the API.")] = 8000,
    serve: Annotated[bool, typer.Option(help="Serve the model once it is trained.")] = True,
    out: OutOption = Path("foldin-demo"),
    epochs: Annotated[int | None, typer.Option(help="Passes over the users, at most.")] = None,
) -> None:
    """From nothing to a page of recommendations: MovieLens, Mult-VAE, the service."""
    dataset = load("movielens-small", DataOptions())
    settings = preset("multvae", dataset.split.train.nnz)
    config = TrainingConfig.of(settings | ({} if epochs is None else {"epochs": epochs}))
    train_and_tell(dataset, config, out, resume=False)
    if serve:
        console.print(f"serving on http://127.0.0.1:{port} (Ctrl-C stops it)", highlight=False)
        run_service(Settings(model_dir=out, port=port, log_format="console"))
