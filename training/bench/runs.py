"""Runs each bench with its plan, shows its tables, and gives its record for JSON."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import orjson
from rich.console import Console

from service.settings import available_cores, default_threads
from training.bench.decode import DecodePlan, check_decoding, time_decoding
from training.bench.scoring import ScorePlan, has_implicit, time_scoring
from training.bench.serving import OURS, ServePlan, ServeReport
from training.bench.serving_race import measure_serving, request_bodies
from training.bench.subject import Subject, Users, drawn_histories
from training.bench.tables import (
    decode_table,
    exactness_table,
    score_table,
    serve_tables,
    train_table,
)
from training.bench.training_race import TrainPlan, TrainRun, race_training, summarize
from training.bench.wrk import Wrk, closed_loop
from training.errors import BadInputError

Record: TypeAlias = dict[str, Any]

NUM_BODIES: Final = 256
# What --quick makes of the plans: all four together stay below five minutes on two cores.
QUICK_DECODE: Final[Record] = {"repeats": 3, "at_least_s": 0.05, "ks": (20,)}
QUICK_CHECK: Final = (10, 20, 100)
QUICK_USERS: Final = 500
QUICK_TRAIN: Final[Record] = {"users": 1_000}
QUICK_SERVE: Final[Record] = {"seconds": 1.0}


@final
@dataclass(frozen=True, slots=True)
class Effort:
    """How much of everything.

    Attributes:
        quick: Small plans, for a look.
        threads: Of all libraries; None takes one per core, in ``serve`` what the service
            takes by default.
        repeats: Of each measurement; None: as many as the plan has.
    """

    quick: bool = False
    threads: int | None = None
    repeats: int | None = None

    @property
    def chosen(self) -> Record:
        """What was chosen and is in every plan."""
        threads = self.threads or available_cores()
        return {"threads": threads} | ({} if self.repeats is None else {"repeats": self.repeats})


@final
@dataclass(frozen=True, slots=True)
class ServeChoice:
    """What only ``serve`` is told.

    Attributes:
        workers: Processes of each server, one run each.
        seconds: Of each measurement; None: as the plan has it.
        k: Length of the lists.
        log_level: Of all servers.
        log_dir: Where their logs stay; None: nowhere.
    """

    workers: Sequence[int] = (1,)
    seconds: float | None = None
    k: int = 20
    log_level: str = "warning"
    log_dir: Path | None = None


def run_decode(subject: Subject, users: Users, effort: Effort, console: Console) -> Record:
    """Time decoding, then compare every list with the exact one."""
    plan = DecodePlan(**((QUICK_DECODE if effort.quick else {}) | effort.chosen))
    users = replace(users, count=QUICK_USERS) if effort.quick else users
    checks = replace(plan, ks=QUICK_CHECK) if effort.quick else plan
    _refuse_fewer_items(subject, max(checks.ks))
    rows = drawn_histories(subject.loaded, users)
    timed = list(time_decoding(subject.loaded, rows, plan))
    console.print(decode_table(timed))
    checked = list(check_decoding(subject.loaded, rows, checks))
    console.print(exactness_table(checked))
    return {
        "subject": subject.describe(),
        "plan": asdict(plan),
        "users": asdict(users),
        "rows": [asdict(row) for row in timed],
        "exactness": [asdict(row) for row in checked],
    }


def run_score(subject: Subject, users: Users, effort: Effort, console: Console) -> Record:
    """Time batch scoring."""
    plan = ScorePlan(**effort.chosen)
    users = replace(users, count=QUICK_USERS) if effort.quick else users
    _refuse_fewer_items(subject, plan.k)
    rows = list(time_scoring(subject.loaded, drawn_histories(subject.loaded, users), plan))
    console.print(score_table(rows, has_implicit=has_implicit()))
    return {
        "subject": subject.describe(),
        "plan": asdict(plan),
        "users": asdict(users),
        "rows": [asdict(row) for row in rows],
    }


def run_train(plan: TrainPlan, effort: Effort, console: Console) -> Record:
    """Race the shipped loop against the dense one."""
    plan = replace(plan, **((QUICK_TRAIN if effort.quick else {}) | effort.chosen))

    def tell(run: TrainRun) -> None:
        line = f"{run.contestant}, seed {run.seed}: {run.users_per_second:,.0f} users/s"
        console.print(line, highlight=False)

    runs = race_training(plan, tell)
    summary = summarize(runs)
    console.print(train_table(summary))
    return {"plan": asdict(plan), "runs": [asdict(r) for r in runs], "summary": asdict(summary)}


def run_serve(
    subject: Subject, users: Users, choice: ServeChoice, effort: Effort, console: Console
) -> Record:
    """Drive the service and its rivals, once for each number of workers."""
    driver = closed_loop()
    if not isinstance(driver, Wrk):
        console.print("wrk is not on PATH: our own client drives, and takes more of the machine")
    catalog = subject.loaded.catalog
    bodies = request_bodies(catalog, NUM_BODIES, users.length, choice.k, users.seed)
    reports: list[ServeReport] = []
    with ExitStack() as stack:
        folder = choice.log_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        for workers in choice.workers:
            plan = _serve_plan(subject, workers, choice, effort)
            report = measure_serving(
                plan, bodies, driver, folder, lambda line: console.print(line, highlight=False)
            )
            reports.append(report)
            for table in serve_tables(report):
                console.print(table)
    growth = pss_growth(reports)
    for workers, ratio in growth.items():
        console.print(
            f"PSS of {workers} workers over that of {reports[0].workers}: {ratio:.2f}",
            highlight=False,
        )
    return {
        "subject": subject.describe(),
        "request": {"items": users.length, "k": choice.k, "bodies": len(bodies)},
        "log_level": choice.log_level,
        "reports": [asdict(report) for report in reports],
        "pss_growth": {str(workers): ratio for workers, ratio in growth.items()},
    }


def _refuse_fewer_items(subject: Subject, k: int) -> None:
    num_items = subject.loaded.model.num_items
    if num_items < k:
        raise BadInputError(f"the catalogue has {num_items} items, and lists of {k} are measured")


def pss_growth(reports: Sequence[ServeReport]) -> dict[int, float]:
    """Give the memory of our service over that of the first report, by number of workers."""
    first = reports[0].pss_bytes[OURS]
    return {
        report.workers: report.pss_bytes[OURS] / first
        for report in reports[1:]
        if first and report.pss_bytes[OURS] is not None
    }


def plain(record: Record) -> Record:
    """Turn paths and tuples of a record into what JSON has."""
    content: Record = orjson.loads(orjson.dumps(record, default=str))
    return content


def _serve_plan(subject: Subject, workers: int, choice: ServeChoice, effort: Effort) -> ServePlan:
    threads = effort.threads or default_threads(workers)
    chosen = effort.chosen | {"threads": threads}
    if choice.seconds is not None:
        chosen["seconds"] = choice.seconds
    return ServePlan(
        bundle=subject.path,
        workers=workers,
        log_level=choice.log_level,
        **((QUICK_SERVE if effort.quick else {}) | chosen),
    )
