"""How values become bytes: serializers by name or as objects."""

from flowyard.serializers.arrow import ArrowSerializer
from flowyard.serializers.base import Serializer
from flowyard.serializers.compressed import CompressedJSONSerializer, CompressedPickleSerializer, CompressedSerializer
from flowyard.serializers.json import (
    JSONSerializer,
    flowyard_json_object_decoder,
    flowyard_json_object_encoder,
    prefect_json_object_decoder,
    prefect_json_object_encoder,
)
from flowyard.serializers.msgpack import MsgpackSerializer
from flowyard.serializers.pickle import PickleSerializer
from flowyard.serializers.registry import resolve_serializer, serializer_from_record

__all__ = [
    "ArrowSerializer",
    "CompressedJSONSerializer",
    "CompressedPickleSerializer",
    "CompressedSerializer",
    "JSONSerializer",
    "MsgpackSerializer",
    "PickleSerializer",
    "Serializer",
    "flowyard_json_object_decoder",
    "flowyard_json_object_encoder",
    "prefect_json_object_decoder",
    "prefect_json_object_encoder",
    "resolve_serializer",
    "serializer_from_record",
]
