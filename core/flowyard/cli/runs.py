"""What `flowyard flow-run` and `flowyard task-run` share: finding a run, and listing many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from flowyard.cli.invocation import CommandFailed, Invocation
from flowyard.cli.output import say, state_cell, when, write_json, write_table
from flowyard.exceptions import ObjectNotFound
from flowyard.ports import ControlPlane
from flowyard.schemas.runs import FlowRun, TaskRun

R = TypeVar("R", FlowRun, TaskRun)


@dataclass(frozen=True)
class RunNoun(Generic[R]):
    """One kind of run: its words, and how it is read and written."""

    maker: str
    """What makes such runs: `flow` or `task`."""
    maker_of: Callable[[R], str]
    """The name of the flow or task of a run."""
    record: Callable[[R], dict[str, Any]]
    reader: Callable[[ControlPlane, UUID], R]

    def read(self, control: ControlPlane, identifier: UUID) -> R:
        """Return a run.

        Raises:
            CommandFailed: there is none with this id.
        """
        try:
            return self.reader(control, identifier)
        except ObjectNotFound as error:
            raise self.not_found(identifier) from error

    def not_found(self, identifier: UUID) -> CommandFailed:
        """Return the error for an id that no run has."""
        return CommandFailed(
            f"{self.maker.title()} run '{identifier}' not found! `flowyard {self.maker}-run ls` lists the newest."
        )

    def write_list(self, run: Invocation, found: Sequence[R], *, is_filtered: bool) -> None:
        """Write runs, one on a line, or say how there could be some."""
        maker = self.maker
        if run.is_json:
            write_json([self.record(each) for each in found])
        elif found:
            rows = [
                (str(each.id), self.maker_of(each), each.name, state_cell(each.state), when(each.state))
                for each in found
            ]
            write_table(run, ("ID", maker.title(), "Name", "State", "When"), rows)
        elif is_filtered:
            say(run, f"No {maker} runs found that match; `flowyard {maker}-run ls` without options lists all.")
        else:
            say(run, f"No {maker} runs found: call a function decorated with @{maker}, and its run appears here.")
