"""The version of flowyard-dask."""

__version__ = "0.1.0"
