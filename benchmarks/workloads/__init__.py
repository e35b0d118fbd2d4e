"""Programs that are measured, each in a process of its own.

Those that run in a peer's environment import nothing but the standard library and the peer.
"""
