"""What every task runner must do, as tests. An outside runner subclasses the two classes and overrides `runner`.

```python
class TestMyRunner(TaskRunnerContract):
    @pytest.fixture
    def runner(self) -> TaskRunner:
        return MyTaskRunner(max_workers=2)
```

`TaskRunnerContract` speaks to the runner directly, `TaskRunnerFlowContract` runs flows on it.
"""

from flowyard.testing.runners.calls import EventList, RecordedCall, make_call, outcome_of, outcomes_of
from flowyard.testing.runners.contract import TaskRunnerContract, TaskRunnerFlowContract
from flowyard.testing.runners.fixtures import FlowsUnderTest, RunnerUnderTest, skip_sequential

__all__ = [
    "EventList",
    "FlowsUnderTest",
    "RecordedCall",
    "RunnerUnderTest",
    "TaskRunnerContract",
    "TaskRunnerFlowContract",
    "make_call",
    "outcome_of",
    "outcomes_of",
    "skip_sequential",
]
