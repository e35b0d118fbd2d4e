"""Marks around arguments, under the name that code written for Prefect 2 imports."""

from flowyard.annotations import BaseAnnotation, NotSet, Quote, allow_failure, quote, unmapped

__all__ = ["BaseAnnotation", "NotSet", "Quote", "allow_failure", "quote", "unmapped"]
