"""Telling the progress view what is recorded."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flowyard.ports import Recorder
from flowyard.progress import ProgressView
from flowyard.schemas.events import JournalEvent, TaskRunCreated, TaskRunEntered
from flowyard.schemas.states import State


class WatchedRecorder:
    """Passes events on, and shows the view those of task runs. Used only where a view is drawn: on a terminal."""

    def __init__(self, recorder: Recorder, view: ProgressView) -> None:
        self._recorder = recorder
        self._view = view
        self._unfinished: dict[UUID, tuple[str, State[Any] | None]] = {}

    def append(self, event: JournalEvent) -> None:
        """Record an event."""
        self._recorder.append(event)
        if isinstance(event, TaskRunCreated):
            self._unfinished[event.task_run.id] = (event.task_run.task_name, None)
        elif isinstance(event, TaskRunEntered):
            known = self._unfinished.get(event.task_run_id)
            if known is None:
                return
            name, before = known
            self._view.entered(name, event.state, before)
            if event.state.is_final():
                self._unfinished.pop(event.task_run_id, None)
            else:
                self._unfinished[event.task_run_id] = (name, event.state)
