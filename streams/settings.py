"""What a worker is told when it starts. Pure."""

from pydantic import BaseModel, ConfigDict

from streams.batch import Policy
from streams.worker import Timing


class WorkerSettings(BaseModel):
    """`health_port` 0: no health page."""

    model_config = ConfigDict(frozen=True)

    kafka: str
    redis: str
    topic: str = "usage.events"
    dead_letter_topic: str = "usage.dead-letter"
    group: str = "odometer"
    health_port: int = 0
    store_previews: bool = False
    policy: Policy = Policy()
    timing: Timing = Timing()
