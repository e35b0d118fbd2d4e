"""A Ray of two CPUs on this host, for one measured program."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.workloads.cluster_work import WORKERS

_ATTEMPTS = 3


def started_ray(store_bytes: int) -> Any:
    """Start Ray and return its module."""
    ray: Any = importlib.import_module("ray")
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            ray.init(
                "local",
                num_cpus=WORKERS,
                include_dashboard=False,
                log_to_driver=False,
                object_store_memory=store_bytes,
            )
        except Exception:  # Ray gives itself 30 s, which a busy machine does not always keep
            if not attempts_left:
                raise
            ray.shutdown()
        else:
            break
    return ray
