"""The server: Prefect 2.20's REST API, and our additions to it, over the store, the services and the rules."""
