"""What everything in one process shares: state backends, and an event loop for async code that has none."""
