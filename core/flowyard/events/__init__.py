"""Events: what happened, to which resource, and what else had to do with it."""

from flowyard.events.utilities import emit_event
from flowyard.schemas.api.events import Event, ReceivedEvent, RelatedResource, Resource

__all__ = ["Event", "ReceivedEvent", "RelatedResource", "Resource", "emit_event"]
