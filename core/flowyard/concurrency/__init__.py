"""Limits on how much happens at once, in all runs together: `concurrency` and `rate_limit`, in both colours."""
