"""The pure state machine: given a run, a proposed state and `now`, what happens.

No clock, database, settings or log.
"""
