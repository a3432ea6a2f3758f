"""The settings of the directory's process."""

from pydantic import BaseModel, ConfigDict

from streams.directory.records import Stream, topic_of


class DirectorySettings(BaseModel):
    """`prefix`: the topics are PREFIX.users, PREFIX.groups and PREFIX.chats."""

    model_config = ConfigDict(frozen=True)

    kafka: str
    redis: str
    prefix: str = "directory"
    group: str = "odometer-directory"


def changelogs(settings: DirectorySettings) -> dict[str, str]:
    """Topic -> changelog of its table, as Faust names it."""
    return {
        topic_of(settings.prefix, stream): f"{settings.group}-{stream}-changelog"
        for stream in Stream
    }
