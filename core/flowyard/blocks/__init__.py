"""Blocks: configuration and secrets as typed objects that are saved under a name. `core` has the class to derive from.

Nothing is imported here: pydantic takes 60 ms that flows without blocks need not pay.
"""
