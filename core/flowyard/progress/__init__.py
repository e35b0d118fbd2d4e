"""Live progress of a flow run on an interactive terminal."""

from flowyard.progress.view import ProgressView, for_flow

__all__ = ["ProgressView", "for_flow"]
