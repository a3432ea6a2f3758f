"""The topics: creates those that are missing and checks how they are configured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.errors import InvalidConfig
from streams.kafka.deadlines import ANSWER_S, SEND_S, close_client, within_deadline

REPLICAS_MAX: Final = 3
"""Of a topic that we create, if there are so many brokers: it survives the loss of one broker while
another one is down."""
RETENTION_MS: Final = 90 * 24 * 3600 * 1000
"""Of a topic that we create: a rebuild can count the events of that time again. As long as
quarter-hours are kept: 90 days at 1,000 events/s of 600 B are 4.7 TB, so a busy operator sets
less."""
APPEND_TIME: Final = {"message.timestamp.type": "LogAppendTime"}
COMPACTED: Final = {"cleanup.policy": "compact"}


async def ensure_topics(kafka: str, *, events: str, dead_letter: str, partitions: int) -> list[str]:
    """Creates the topics that are missing. Returns one line for each topic.

    Raises InvalidConfig if a topic stores the producer's time in its records. The append time
    decides in which tiers an event counts, so that a replay decides the same.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka, client_id="odometer-topics")
    try:
        await within_deadline(SEND_S, admin.start(), "accept a connection")
        lines = []
        for name, count in ((events, partitions), (dead_letter, 1)):
            line = await within_deadline(
                SEND_S, _ensure(admin, name, count), f"create topic {name}"
            )
            lines.append(line)
            await _check_append_time(admin, name)
        return lines
    finally:
        await close_client(admin)


async def ensure_directory_topics(
    kafka: str, changelogs: Mapping[str, str], partitions: int
) -> dict[str, int]:
    """Creates the compacted topics of the directory that are missing, and the changelog of each.

    `changelogs`: topic -> changelog of its table. A changelog gets as many partitions as its topic.
    Returns how many partitions each topic has. Raises LogUnavailable or InvalidConfig.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka, client_id="odometer-topics")
    found: dict[str, int] = {}
    try:
        await within_deadline(SEND_S, admin.start(), "accept a connection")
        for name, changelog in changelogs.items():
            creation = _create(admin, name, partitions, COMPACTED | APPEND_TIME)
            found[name], _ = await within_deadline(SEND_S, creation, f"create topic {name}")
            await _check_append_time(admin, name)
            creation = _create(admin, changelog, found[name], COMPACTED)
            await within_deadline(SEND_S, creation, f"create topic {changelog}")
    finally:
        await close_client(admin)
    return found


async def _ensure(admin: AIOKafkaAdminClient, name: str, partitions: int) -> str:
    configs = {**APPEND_TIME, "cleanup.policy": "delete", "retention.ms": str(RETENTION_MS)}
    count, is_new = await _create(admin, name, partitions, configs)
    return f"{name}: {count} partitions, {'created' if is_new else 'exists'}"


async def _create(
    admin: AIOKafkaAdminClient, name: str, partitions: int, configs: Mapping[str, str]
) -> tuple[int, bool]:
    """How many partitions the topic has, and whether this call created it."""
    brokers = len((await admin.describe_cluster())["brokers"])
    replicas = min(REPLICAS_MAX, brokers)
    response = await admin.create_topics(
        [NewTopic(name, partitions, replicas, None, dict(configs))]
    )
    code = response.topic_errors[0][1]
    if code == kafka_errors.TopicAlreadyExistsError.errno:
        (topic,) = await admin.describe_topics([name])
        return len(topic["partitions"]), False
    if code:
        raise kafka_errors.for_code(code)(name)
    return partitions, True


async def _check_append_time(admin: AIOKafkaAdminClient, name: str) -> None:
    wanted: Mapping[str, Any] = {"message.timestamp.type": None}
    resource = ConfigResource(ConfigResourceType.TOPIC, name, configs=dict(wanted))
    (response,) = await within_deadline(
        ANSWER_S, admin.describe_configs([resource]), f"return the configuration of topic {name}"
    )
    for _code, _message, _type, _name, entries in response.resources:
        for entry in entries:
            if entry[0] == "message.timestamp.type" and entry[1] != "LogAppendTime":
                raise InvalidConfig(
                    f"topic {name} has message.timestamp.type={entry[1]}, it must be LogAppendTime:"
                    f" kafka-configs --alter --topic {name}"
                    " --add-config message.timestamp.type=LogAppendTime"
                )
