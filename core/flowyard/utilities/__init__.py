"""Tools with the names of Prefect 2's `prefect.utilities`."""
