"""One training run of ``foldin bench losses``, in a process of its own: JSON in, JSON out."""

import statistics
import sys
from dataclasses import asdict
from typing import Any, final

import orjson
import torch

from training.baselines import Popularity
from training.bench.interaction_log import planted_split
from training.bench.losses_race import Contestant, LossesPlan, LossesRun
from training.config import TrainingConfig
from training.data.datasets import DataOptions, load_dataset
from training.data.split import Split
from training.evaluate import evaluate
from training.loop import train
from training.memory import forget_peak, peak_bytes
from training.state import EpochReport
from training.task import RankingTask


def main() -> None:
    """Read a plan from stdin, train, print a run as the last line of stdout."""
    request = orjson.loads(sys.stdin.buffer.read())
    run = run_once(LossesPlan.of(request["plan"]), request["contestant"])
    sys.stdout.write(orjson.dumps(asdict(run)).decode() + "\n")


def run_once(plan: LossesPlan, contestant: Contestant) -> LossesRun:
    """Train one contestant here and now; its peak is that of this process."""
    torch.set_num_threads(plan.threads)
    split = split_of(plan)
    popularity = evaluate(Popularity(split.train), split.valid).to_dict()
    forget_peak()
    baseline_bytes = peak_bytes()
    result = train(config_of(plan, contestant), RankingTask(split), _Nobody())
    seconds = [report.train_s for report in result.reports]
    return LossesRun(
        contestant=contestant,
        users=split.train.shape[0],
        items=split.train.shape[1],
        interactions=split.train.nnz,
        users_per_second=split.train.shape[0] / statistics.median(seconds),
        train_s=sum(seconds),
        peak_bytes=peak_bytes(),
        baseline_bytes=baseline_bytes,
        curve=tuple(report.valid["ndcg@100"] for report in result.reports),
        valid=result.reports[result.best_epoch - 1].valid,
        popularity=popularity,
    )


def split_of(plan: LossesPlan) -> Split:
    """Read the log and split it, or draw one."""
    if plan.log is None:
        return planted_split(plan.shape, plan.held_out)
    return load_dataset(plan.log, DataOptions()).split


def config_of(plan: LossesPlan, contestant: Contestant) -> TrainingConfig:
    """Give the settings of a contestant's run."""
    own: dict[Contestant, dict[str, Any]] = {
        "exact": {},
        "sampled, all rows": {"negatives": plan.negatives, "row_updates": "dense"},
        "sampled": {"negatives": plan.negatives},
    }
    return TrainingConfig.of(
        {
            "model": "multvae",
            "latent_dim": plan.latent,
            "hidden_dims": [plan.hidden],
            "epochs": plan.epochs,
            "patience": plan.epochs,
            "batch_size": plan.batch_size,
            "learning_rate": plan.learning_rate,
            "threads": plan.threads,
            "device": "cpu",
            "seed": plan.seed,
            **own[contestant],
        }
    )


@final
class _Nobody:
    """Watches nothing."""

    def on_step(self, users: float) -> None:
        del users

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        del report, best_epoch


if __name__ == "__main__":
    main()
