from __future__ import annotations

from flowyard import flow, task
from flowyard.futures import resolve_futures_to_data, resolve_futures_to_states


@task
def one():
    return 1


@task
def bad():
    raise ValueError("no good")


def test_futures_in_collections_are_replaced_by_their_values_or_states(records):
    @flow
    def run():
        futures = {"a": [one.submit()], "b": (one.submit(), 2)}
        states = resolve_futures_to_states(futures)
        return {
            "data": resolve_futures_to_data(futures),
            "states": [states["a"][0].name, states["b"][0].name],
        }

    assert run() == {"data": {"a": [1], "b": (1, 2)}, "states": ["Completed", "Completed"]}


def test_the_exception_of_a_failed_future_can_be_taken(records):
    @flow
    def run():
        data = resolve_futures_to_data([bad.submit()], raise_on_failure=False)
        return {"text": str(data[0])}

    assert run() == {"text": "no good"}
