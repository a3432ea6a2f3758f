"""What a worker, and the directory's process, are told when they start. Pure."""

from typing import Final

from pydantic import BaseModel, ConfigDict

from streams.core.batch import Policy
from streams.directory.records import Stream, topic_of
from streams.worker.loop import Timing

PARTITIONS: Final = 4
"""Of a topic that is made: the most processes that share it. One takes 1,000 records a second."""


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


class DirectorySettings(BaseModel):
    """`prefix`: the topics are this, a dot, and users, groups or chats."""

    model_config = ConfigDict(frozen=True)

    kafka: str
    redis: str
    prefix: str = "directory"
    group: str = "odometer-directory"


def changelogs(settings: DirectorySettings) -> dict[str, str]:
    """Each topic of a stream, and the changelog of its table, as Faust names it."""
    return {
        topic_of(settings.prefix, stream): f"{settings.group}-{stream}-changelog"
        for stream in Stream
    }
