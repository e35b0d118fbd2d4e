"""The bodies and answers of the REST API, one module a noun; loaded by server and clients, never by a flow alone.

Names, fields and defaults are Prefect 2.20's: `tests/core/server/test_contract.py` compares them with its interface.
"""
