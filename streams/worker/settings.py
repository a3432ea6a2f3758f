"""The settings of a worker process."""

from typing import Final

from pydantic import BaseModel, ConfigDict

from schemas.quotas import Quota
from streams.core.batch import Policy
from streams.redis.commit import TENANT_SERIES
from streams.worker.health import Timing

PARTITIONS: Final = 4
"""Of a topic that we create: at most so many processes share it. One reads 1,000 records a second."""


class WorkerSettings(BaseModel):
    """`redis_eviction`: the policy that the operator states, for a Redis that forbids INFO."""

    model_config = ConfigDict(frozen=True)

    kafka: str
    redis: str
    redis_eviction: str = ""
    topic: str = "usage.events"
    dead_letter_topic: str = "usage.dead-letter"
    group: str = "odometer"
    store_previews: bool = False
    tenant_series: Quota = TENANT_SERIES
    policy: Policy = Policy()
    timing: Timing = Timing()
