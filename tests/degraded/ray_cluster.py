"""Scores users on a Ray cluster of two nodes on this machine, and loses some of it meanwhile.

``python ray_cluster.py BUNDLE USERS OUT actors|node``: kills the first actor of each node as soon
as it has written a part, or takes a whole node away. Prints the processes that wrote parts, and
those that were killed, as JSON.
"""

import importlib
import json
import os
import signal
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from training.scoring.engine import Receipt
from training.scoring.parts import Part
from training.scoring.plan import ScoringPlan
from training.scoring.ray_engine import RayEngine
from training.scoring.run import Users, score_users

PART_USERS = 1000
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


class Silent:
    def on_read(self, users: int) -> None: ...

    def on_scoring(self) -> None: ...

    def on_scored(self, users: int, of_users: int) -> None: ...


class Losing:
    """The engine on Ray, under which actors or a node are lost."""

    def __init__(self, lose_node: Any, victims: int) -> None:  # noqa: ANN401 - calls into Ray
        self.wrote: set[int] = set()
        self.killed: set[int] = set()
        self._lose_node = lose_node
        self._victims = victims

    def __call__(self, parts: Sequence[Part], plan: ScoringPlan) -> Generator[Receipt, None, None]:
        for receipt in RayEngine()(parts, plan):
            self.wrote.add(receipt.process)
            if self._lose_node is not None and len(self.wrote) == 2:
                self._lose_node()
                self._lose_node = None
            if receipt.process not in self.killed and len(self.killed) < self._victims:
                os.kill(receipt.process, signal.SIGKILL)
                self.killed.add(receipt.process)
            yield receipt


def main() -> None:
    bundle, users, out = map(Path, sys.argv[1:4])
    ray = importlib.import_module("ray")
    cluster = importlib.import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={**NODE, "include_dashboard": False}
    )
    other = cluster.add_node(**NODE)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    if sys.argv[4] == "node":
        engine = Losing(lambda: cluster.remove_node(other, allow_graceful=False), 0)
    else:
        engine = Losing(None, 2)
    try:
        score_users(Users(users, out, part_users=PART_USERS), ScoringPlan(bundle), engine, Silent())
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(json.dumps({"wrote": sorted(engine.wrote), "killed": sorted(engine.killed)}))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
