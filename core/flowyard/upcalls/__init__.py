"""Calls of the control plane from a remote worker: they travel to the flow's process and are answered there.

A worker has no state backend. What code in a task asks of it (`Variable.get`, artifacts, blocks, limits) becomes one
small message over the runner's side channel. `calls` says what it looks like, `worker` and `desk` are the two ends.
"""
