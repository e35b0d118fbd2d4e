"""The smallest program: one flow that calls one task. Its whole process is timed from outside."""

from flowyard import flow, task


@task
def add(first: int, second: int) -> int:
    return first + second


@flow
def one_task() -> int:
    return add(1, 2)


if __name__ == "__main__":
    if one_task() != 3:
        raise SystemExit("the flow returned something else than 3")
