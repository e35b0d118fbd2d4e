"""What we claim, and how to measure it again: `python -m benchmarks`."""
