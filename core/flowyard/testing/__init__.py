"""Helpers for tests of flows, and the contracts that plug-ins must pass."""
