"""Results: the values of runs, in memory or persisted."""

from flowyard.results.blob import BlobHeader, read_header
from flowyard.results.factory import ResultFactory, ResultOrigin, derived_key, run_folder
from flowyard.results.fingerprints import Fingerprint, fingerprint, fingerprint_of
from flowyard.results.handles import LITERAL_TYPES, BaseResult, LiteralResult, PersistedResult, UnpersistedResult
from flowyard.results.options import (
    default_storage,
    flow_features_require_child_result_persistence,
    flow_features_require_result_persistence,
    flow_result_options,
    resolve_result_options,
    resolve_storage,
    task_features_require_result_persistence,
    task_result_options,
)
from flowyard.results.reading import read_value
from flowyard.results.records import result_from_record, stored_results
from flowyard.schemas.unknown_result import UnknownResult

__all__ = [
    "LITERAL_TYPES",
    "BaseResult",
    "BlobHeader",
    "Fingerprint",
    "LiteralResult",
    "PersistedResult",
    "ResultFactory",
    "ResultOrigin",
    "UnknownResult",
    "UnpersistedResult",
    "default_storage",
    "derived_key",
    "fingerprint",
    "fingerprint_of",
    "flow_features_require_child_result_persistence",
    "flow_features_require_result_persistence",
    "flow_result_options",
    "read_header",
    "read_value",
    "resolve_result_options",
    "resolve_storage",
    "result_from_record",
    "run_folder",
    "stored_results",
    "task_features_require_result_persistence",
    "task_result_options",
]
