"""One training run of ``foldin bench train``, in a process of its own: JSON in, JSON out."""

import math
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import final

import numpy as np
import orjson
import torch
from scipy.sparse import csr_array
from torch.nn.utils import clip_grad_norm_

from service.autoencoders.base import Autoencoder
from service.checkpoint import build_model
from training.bench.dense_vae import DenseVAE
from training.bench.synthetic import Shape, synthetic_catalog, synthetic_log
from training.bench.training_race import Contestant, TrainPlan, TrainRun
from training.config import TrainingConfig
from training.data.datasets import DataOptions, load_dataset
from training.loop import train
from training.memory import forget_peak, peak_bytes
from training.schedule import beta_at, learning_rate_at
from training.state import EpochReport


def main() -> None:
    """Read a plan from stdin, train, print a run as the last line of stdout."""
    request = orjson.loads(sys.stdin.buffer.read())
    fields = request["plan"]
    plan = TrainPlan(**{**fields, "shape": Shape(**fields["shape"])})
    run = run_once(plan, request["contestant"], request["seed"])
    sys.stdout.write(orjson.dumps(asdict(run)).decode() + "\n")


def run_once(plan: TrainPlan, contestant: Contestant, seed: int) -> TrainRun:
    """Train one contestant here and now; its peak is that of this process."""
    torch.set_num_threads(plan.threads)
    rows = training_rows(plan)
    config = TrainingConfig.of(
        {
            "model": "multvae",
            "latent_dim": plan.shape.latent,
            "hidden_dims": [plan.shape.hidden],
            "epochs": plan.epochs,
            "patience": plan.epochs,
            "batch_size": plan.batch_size,
            "threads": plan.threads,
            "device": "cpu",
            "seed": seed,
        }
    )
    forget_peak()
    baseline_bytes = peak_bytes()
    learn = shipped if contestant == "foldin" else dense
    seconds, losses = learn(config, rows)
    return TrainRun(
        contestant=contestant,
        seed=seed,
        users_per_second=rows.shape[0] / statistics.median(seconds),
        peak_bytes=peak_bytes(),
        baseline_bytes=baseline_bytes,
        losses=tuple(losses),
    )


def training_rows(plan: TrainPlan) -> csr_array:
    """Draw a log, or read one and keep its first training users."""
    if plan.log is None:
        popularity_I = synthetic_catalog(plan.shape.items, plan.seed).popularity_I
        generator = np.random.default_rng(plan.seed)
        return synthetic_log(popularity_I, plan.users, generator, plan.length)
    rows = load_dataset(plan.log, DataOptions()).split.train
    return rows[: plan.users] if plan.users else rows


def shipped(config: TrainingConfig, rows: csr_array) -> tuple[list[float], list[float]]:
    """Train with the loop of ``foldin train``: seconds and losses by epoch."""
    result = train(config, _Rows(rows), _Nobody())
    return [report.train_s for report in result.reports], [report.loss for report in result.reports]


def dense(config: TrainingConfig, rows: csr_array) -> tuple[list[float], list[float]]:
    """Train the same model on dense rows: seconds and losses by epoch."""
    torch.manual_seed(config.seed)
    model = DenseVAE.of(build_model(config.model, config.architecture, rows.shape[1], 0))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    order = torch.Generator().manual_seed(config.seed)
    noise = torch.Generator().manual_seed(config.seed)
    total_steps = config.epochs * math.ceil(rows.shape[0] / config.batch_size)
    step = 0
    seconds: list[float] = []
    losses: list[float] = []
    for _ in range(config.epochs):
        started_s = time.monotonic()
        total = 0.0
        order_U = torch.randperm(rows.shape[0], generator=order).numpy()
        for start in range(0, len(order_U), config.batch_size):
            index_B = order_U[start : start + config.batch_size]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, total_steps, config)
            step += 1
            row_BI = torch.from_numpy(rows[index_B].toarray())
            optimizer.zero_grad()
            loss = model.loss(row_BI, beta_at(step, total_steps, config), noise)
            torch.autograd.backward(loss)
            clip_grad_norm_(model.parameters(), config.max_grad_norm)
            optimizer.step()
            total += loss.item() * len(index_B)
        seconds.append(time.monotonic() - started_s)
        losses.append(total / rows.shape[0])
    return seconds, losses


@final
class _Rows:
    """A task without validation: only the training itself is measured."""

    def __init__(self, rows: csr_array) -> None:
        self.rows = rows

    def measure(self, model: Autoencoder) -> dict[str, float]:
        del model
        return {}

    def merit(self, valid: Mapping[str, float]) -> float:
        del valid
        return 0.0


@final
class _Nobody:
    """Watches nothing."""

    def on_step(self, users: float) -> None:
        del users

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        del report, best_epoch


if __name__ == "__main__":
    main()
