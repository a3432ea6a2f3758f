"""The part that a producer adds to its app: `Meter`. See streams/meter/README.md.

    meter            `Meter`, which an app creates and calls
    queue            the queue of a meter, and the thread that sends it
    queued           what waits in the queue: events, and objects of a library
    clients/         what records the calls of a wrapped client
    library_objects  the objects of a library to events
    litellm_callback `LiteLLMCallback`, for LiteLLM's SDK and proxy
    livekit_session  listens to a session of LiveKit Agents
    running_totals   LiveKit's totals of a session to differences
    fixes            what to pass in place of an object that cannot be read
    notices          what is skipped: a number for each reason, a line for each once
    transport        HTTP and Kafka

These modules and their imports need msgspec alone, and `kafka://` also aiokafka, because they run
in other people's apps. `python -m deploy.client.build` packs them as the package `odometer-client`.
"""

from schemas.errors import InvalidConfig
from streams.meter.litellm_callback import LiteLLMCallback
from streams.meter.meter import Meter
from streams.meter.queue import Counts

__all__ = ["Counts", "InvalidConfig", "LiteLLMCallback", "Meter"]
