"""The filters of the REST API as SQL conditions: one module a noun, and `related` for filters across nouns."""
