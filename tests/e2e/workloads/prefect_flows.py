"""Flows of Prefect 2.20, executed by the published package against our server."""

from __future__ import annotations

import sys
from datetime import timedelta

from prefect import flow, get_run_logger, suspend_flow_run, task, unmapped
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.blocks.system import JSON, Secret
from prefect.concurrency.sync import concurrency
from prefect.variables import Variable

attempts: list[int] = []


@task(retries=2, retry_delay_seconds=0.1)
def flaky(n: int) -> int:
    attempts.append(n)
    if len(attempts) < 2:
        raise ValueError("the first attempt fails")
    return n


@task(tags=["database"])
def limited(n: int) -> int:
    return n


@task
def add(a: int, b: int) -> int:
    get_run_logger().info("adding %d and %d", a, b)
    return a + b


@task(cache_key_fn=lambda context, parameters: "always", cache_expiration=timedelta(hours=1), persist_result=True)
def cached(n: int) -> int:
    return n


@flow(log_prints=True)
def child(n: int) -> int:
    print("in the child")
    return add(n, 1)


@flow(log_prints=True)
def parent(n: int = 3) -> int:
    first = flaky.submit(n)
    sums = add.map([1, 2, 3], unmapped(first))
    below = child(4)
    limited.submit(1).wait()
    create_markdown_artifact("# Report", key="report")
    create_table_artifact([{"a": 1}], key="table")
    with concurrency("shared", occupy=1):
        total = sum(future.result() for future in sums) + below
    return total + cached(1) + cached(2)


@task(persist_result=True)
def prepare(n: int) -> int:
    print("preparing")
    return n * 10


@flow(log_prints=True, persist_result=True)
def approval(n: int) -> int:
    prepared = prepare(n)
    # The process ends here, and another one begins the flow again when somebody has resumed it.
    suspend_flow_run(timeout=600)
    print("approved")
    return prepared + 1


def objects() -> None:
    Variable.set("region", "north", overwrite=True)
    assert Variable.get("region").value == "north"
    Secret(value="hush").save("password", overwrite=True)
    assert Secret.load("password").get() == "hush"
    JSON(value={"a": [1, 2]}).save("config", overwrite=True)
    assert JSON.load("config").value == {"a": [1, 2]}


if __name__ == "__main__":
    if sys.argv[1] == "objects":
        objects()
    elif sys.argv[1] == "deploy":
        for entrypoint, name, cron in (("child", "nightly", "0 3 * * *"), ("approval", "manual", None)):
            source = flow.from_source(source=sys.argv[2], entrypoint=f"prefect_flows.py:{entrypoint}")
            source.deploy(name=name, work_pool_name="processes", parameters={"n": 5}, cron=cron)
    print("result", parent() if sys.argv[1] == "run" else None)
