"""The part that a producer adds to its app: `Meter`. See streams/meter/README.md.

These modules and their imports need msgspec alone (`kafka://` also needs aiokafka), because they
run in other people's apps. `python -m deploy.client.build` packs them as `odometer-client`.

- meter            `Meter`: what an app calls
- queued           what waits to be sent: events, and objects of a library
- queue            the queue of a meter, and the thread that sends it
- library_objects  the objects of a library to events
- transport        HTTP and Kafka
"""

from schemas.errors import InvalidConfig
from streams.meter.meter import Meter
from streams.meter.queue import Counts

__all__ = ["Counts", "InvalidConfig", "Meter"]
