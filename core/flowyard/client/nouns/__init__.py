"""The calls of both clients, a module a noun: each call is one request of the REST API, or a few."""
