"""What the engine, the SDK and the CLI need of a state backend, whichever it is; one module per noun."""

from __future__ import annotations

from flowyard.ports.backend import Backend, ControlPlane, Journal, Lease, Recorder, open_backend

__all__ = ["Backend", "ControlPlane", "Journal", "Lease", "Recorder", "open_backend"]
