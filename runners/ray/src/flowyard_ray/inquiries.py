"""Asking the nodes of a cluster what a worker that died has left."""

from __future__ import annotations

from typing import Any

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from flowyard_ray.api import ray
from flowyard_ray.failures import Failure
from flowyard_ray.flight_recorder import Left, read_record
from flowyard_ray.jobs import Job


class Inquiry:
    """The question to all nodes what a worker left of a job.

    Raises:
        LookupError: there is no node to ask.
    """

    def __init__(self, job: Job, failure: Failure) -> None:
        self.job = job
        self.failure = failure
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        if not nodes:
            raise LookupError("no node of Ray is alive")
        self.references: list[Any] = [_looking_at(node).remote(job.items[0].token) for node in nodes]
        self.left: Left | None = None
        self._missing = len(nodes)
        self._is_over = False

    def is_over(self, left: Left | None) -> bool:
        """Take an answer; True for the one that decides, which comes once."""
        self._missing -= 1
        self.left = self.left or left
        was_over, self._is_over = self._is_over, self.left is not None or self._missing <= 0
        return self._is_over and not was_over


def _looking_at(node: str) -> Any:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(read_record).options(num_cpus=0, max_retries=1, scheduling_strategy=there)
