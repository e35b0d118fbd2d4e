"""Events that clients send: held to the limits of the settings, stored, and told to whoever streams them."""

from __future__ import annotations

from collections.abc import Sequence

from flowyard.schemas.api.events import Event, ReceivedEvent
from flowyard.schemas.runs import utcnow
from flowyard.server.gateway import Gateway
from flowyard.settings import Settings
from flowyard.store import events as store


def check_event(event: Event, settings: Settings) -> None:
    """Refuse an event that is too large.

    Raises:
        ValueError: it has too many labels, related resources or bytes; names the setting.
    """
    if len(event.related) > settings.FLOWYARD_EVENTS_MAXIMUM_RELATED_RESOURCES:
        _refuse(event, f"{len(event.related)} related resources", "FLOWYARD_EVENTS_MAXIMUM_RELATED_RESOURCES")
    most_labels = max(len(labels) for labels in event.resources)
    if most_labels > settings.FLOWYARD_EVENTS_MAXIMUM_LABELS_PER_RESOURCE:
        _refuse(event, f"a resource with {most_labels} labels", "FLOWYARD_EVENTS_MAXIMUM_LABELS_PER_RESOURCE")
    size = len(event.model_dump_json())
    if size > settings.FLOWYARD_EVENTS_MAXIMUM_SIZE_BYTES:
        _refuse(event, f"{size} bytes", "FLOWYARD_EVENTS_MAXIMUM_SIZE_BYTES")


def _refuse(event: Event, what: str, setting: str) -> None:
    raise ValueError(f"event {event.id} has {what}, more than {setting} allows; send less, or raise that setting")


def take_events(gateway: Gateway, events: Sequence[Event]) -> None:
    """Store events; those that were stored before stay as they are.

    Raises:
        ValueError: one of them is too large; none is stored.
    """
    for event in events:
        check_event(event, gateway.settings)
    now = utcnow()
    received = [ReceivedEvent(**dict(event), received=now) for event in events]
    gateway.change(lambda connection: store.record(connection, gateway.dialect, received, now=utcnow()))
    gateway.news.ring()
