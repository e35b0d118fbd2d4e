# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
from __future__ import annotations

from datetime import date

import pydantic
import pytest

from flowyard import flow
from flowyard.exceptions import ParameterBindError, ParameterTypeError


class Source(pydantic.BaseModel):
    name: str
    size: int = 1


class Opaque:
    pass


@pytest.mark.parametrize(
    ("annotation", "given", "got"),
    [
        (int, "5", 5),
        (float, 5, 5.0),
        (date, "2024-02-03", date(2024, 2, 3)),
        (Source, {"name": "x", "size": "3"}, Source(name="x", size=3)),
        (list[int], ["1", 2], [1, 2]),
        (dict[str, float], {"a": "1.5"}, {"a": 1.5}),
        (int | None, None, None),
    ],
    ids=str,
)
def test_a_parameter_is_converted_to_its_annotated_type(records, annotation, given, got):
    def take(value):
        return value

    take.__annotations__["value"] = annotation
    assert flow(take)(given) == got


def test_nothing_is_converted_without_validation(records):
    @flow(validate_parameters=False)
    def take(value: int):
        return value

    assert take("5") == "5"


def test_positional_keyword_and_default_arguments_become_parameters_by_name(records):
    @flow
    def take(a, b=2, *rest, c, **extra):
        return [a, b, rest, c, extra]

    state = take(1, c=3, d=4, return_state=True)
    assert state.result() == [1, 2, (), 3, {"d": 4}]
    assert records.flow_run(state).parameters == {"a": 1, "b": 2, "rest": [], "c": 3, "extra": {"d": 4}}


@pytest.mark.parametrize("depth", [100, 350, 5000])
def test_a_parameter_may_be_nested_deeply(records, depth):
    value = 1
    for _ in range(depth):
        value = {"inner": [value]}

    @flow
    def take(value):
        return value

    assert take(value) is value


def test_a_parameter_that_json_cannot_carry_is_recorded_by_its_type(records):
    @flow
    def take(a, b, c):
        pass

    recorded = records.flow_run(take(Opaque(), Source(name="x"), {1, 2}, return_state=True)).parameters
    assert recorded["a"] == "<Opaque>"
    assert recorded["b"] == {"name": "x", "size": 1}
    assert recorded["c"] == [1, 2]


@pytest.mark.parametrize("args", [(), (1, 2, 3)], ids=["too few", "too many"])
def test_arguments_that_do_not_fit_make_no_run(records, args):
    @flow(name=f"bind-{len(args)}")
    def take(a, b):
        pass

    with pytest.raises(ParameterBindError, match="take"):
        take(*args)
    assert records.flow_runs(take.name) == []


class TestInvalidParameters:
    def test_the_call_raises_and_the_run_is_recorded_as_failed_without_having_run(self, records):
        @flow(name="invalid")
        def take(value: int):
            raise AssertionError("must not run")

        with pytest.raises(ParameterTypeError, match="value"):
            take("five")
        run = records.newest_flow_run("invalid")
        assert records.flow_states(run) == ["Failed"]
        assert run.state.message.startswith("Validation of flow parameters failed with error:")
        assert run.run_count == 0

    def test_the_state_is_returned_on_request_and_hooks_run(self, records):
        seen = []

        @flow(on_failure=[lambda flow, run, state: seen.append(state.name)], retries=2)
        def take(value: int):
            pass

        state = take("five", return_state=True)
        assert state.is_failed()
        assert isinstance(state.result(raise_on_failure=False), ParameterTypeError)
        assert seen == ["Failed"]

    def test_a_subflow_fails_in_its_parent(self, records):
        @flow
        def child(value: int):
            pass

        @flow
        def parent():
            return child("five", return_state=True).name

        state = parent(return_state=True)
        assert state.result() == "Failed"
        assert records.task_states(state, "child-0") == ["Pending", "Failed"]
