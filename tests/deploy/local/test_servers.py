"""The bundled servers: real ones, killed, paused, adopted, and their data still there."""

from pathlib import Path

import psutil
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError

from deploy.errors import PortTaken, ServerFailed, ServerUnreachable
from deploy.local import kafka as kafka_module
from deploy.local import processes, servers
from deploy.local import valkey as valkey_module
from deploy.local.servers import Server

pytestmark = pytest.mark.servers


async def produce(server: Server, topic: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=server.address, acks="all")
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def read(server: Server, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=server.address, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def create_topic(server: Server, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=server.address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def test_kafka_keeps_acknowledged_records_through_kill_and_restart(
    own_kafka: Server, topic: str
) -> None:
    await create_topic(own_kafka, topic)
    await produce(own_kafka, topic, [b"one", b"two"])
    first_pid = own_kafka.pid
    own_kafka.kill()
    assert not own_kafka.is_running()
    own_kafka.restart()
    assert own_kafka.pid != first_pid
    await produce(own_kafka, topic, [b"three"])
    assert await read(own_kafka, topic, 3) == [b"one", b"two", b"three"]


def test_kafka_is_adopted_by_a_second_start_and_survives_a_change_of_ports(
    own_kafka: Server,
) -> None:
    data_dir = own_kafka.spec.directory.parent
    controller_port = own_kafka.spec.ports_needed[1]
    again = kafka_module.start_kafka(data_dir, port=own_kafka.port, controller_port=controller_port)
    assert again.adopted
    assert again.pid == own_kafka.pid
    moved = kafka_module.start_kafka(
        data_dir, port=servers.free_port(), controller_port=servers.free_port()
    )
    try:
        assert not moved.adopted
        assert not own_kafka.is_running()
        before = kafka_module.describe(moved.host, moved.port)
        assert before.brokers == 1
    finally:
        moved.stop()


def test_a_paused_kafka_answers_nobody_and_is_ended_by_the_next_start(own_kafka: Server) -> None:
    own_kafka.pause()
    with pytest.raises(TimeoutError):
        kafka_module.describe(own_kafka.host, own_kafka.port, timeout_s=0.2)
    again = kafka_module.start_kafka(
        own_kafka.spec.directory.parent,
        port=own_kafka.port,
        controller_port=own_kafka.spec.ports_needed[1],
    )
    try:
        assert not again.adopted
        assert not own_kafka.is_running()
    finally:
        again.stop()


def test_a_resumed_kafka_answers_again(own_kafka: Server) -> None:
    own_kafka.pause()
    own_kafka.resume()
    assert kafka_module.describe(own_kafka.host, own_kafka.port, timeout_s=10).brokers == 1


async def test_kafka_creates_no_topic_by_itself(kafka: Server, topic: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address, request_timeout_ms=1_000)
    await producer.start()
    try:
        with pytest.raises(UnknownTopicOrPartitionError):
            await producer.send_and_wait(topic, b"into nothing")
    finally:
        await producer.stop()


def test_the_servers_listen_on_loopback_only(kafka: Server, valkey: Server) -> None:
    for server in (kafka, valkey):
        listening = [
            connection.laddr
            for connection in psutil.Process(server.pid).net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert {address.port for address in listening} == set(server.spec.ports_needed)
        assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_valkey_keeps_what_it_synced_through_kill_and_restart(own_valkey: Server) -> None:
    with redis.Redis.from_url(valkey_module.url_of(own_valkey)) as client:
        client.set("kept", "yes")
        assert client.waitaof(1, 0, 5_000)[0] == 1
    own_valkey.kill()
    own_valkey.restart()
    with redis.Redis.from_url(valkey_module.url_of(own_valkey)) as client:
        assert client.get("kept") == b"yes"


def test_valkey_starts_with_a_torn_last_record(own_valkey: Server) -> None:
    with redis.Redis.from_url(valkey_module.url_of(own_valkey)) as client:
        client.set("kept", "yes")
        client.set("torn", "x" * 1_000)
        assert client.waitaof(1, 0, 5_000)[0] == 1
    own_valkey.kill()
    (tail,) = (own_valkey.spec.directory / "appendonlydir").glob("*.incr.aof")
    with tail.open("r+b") as log:
        log.truncate(tail.stat().st_size - 500)
    own_valkey.restart()
    with redis.Redis.from_url(valkey_module.url_of(own_valkey)) as client:
        assert client.get("kept") == b"yes"
        assert client.get("torn") is None


def test_valkey_never_evicts_and_listens_on_loopback_only(valkey: Server) -> None:
    with redis.Redis.from_url(valkey_module.url_of(valkey)) as client:
        settings = client.config_get("*")
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["bind"] == "127.0.0.1"


def test_valkey_is_adopted_by_a_second_start(own_valkey: Server) -> None:
    again = valkey_module.start_valkey(own_valkey.spec.directory.parent, port=own_valkey.port)
    assert again.adopted
    assert again.pid == own_valkey.pid


def test_a_taken_port_is_named_with_who_has_it(valkey: Server, tmp_path: Path) -> None:
    with pytest.raises(PortTaken, match=rf"^Port {valkey.port}, where valkey .* is taken"):
        valkey_module.start_valkey(tmp_path, port=valkey.port)


def test_a_server_that_ends_early_is_reported_with_its_own_reason(tmp_path: Path) -> None:
    spec = valkey_module.valkey_spec(tmp_path, servers.free_port(), "secret")
    (spec.directory / "appendonlydir").mkdir(parents=True)
    manifest = spec.directory / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("this is no manifest\n")
    with pytest.raises(ServerFailed, match=r"valkey ended while it started: .*valkey\.out"):
        servers.start(spec)
    assert processes.adopt(spec.pidfile) is None


def test_kafka_says_why_it_ended(own_kafka: Server) -> None:
    own_kafka.stop()
    directory = own_kafka.spec.directory
    (directory / "log" / "meta.properties").write_text("version=1\ncluster.id=other\nnode.id=7\n")
    with pytest.raises(
        ServerFailed, match=r"kafka ended while it started: .*node id 7 doesn't match"
    ):
        own_kafka.restart()


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:x", ":9092", "127.0.0.1:99999"])
def test_what_is_no_kafka_address_is_refused(address: str) -> None:
    with pytest.raises(ServerUnreachable, match="write HOST:PORT"):
        kafka_module.check_reachable(address)


def test_no_kafka_at_an_address_is_one_sentence(valkey: Server, kafka: Server) -> None:
    with pytest.raises(ServerUnreachable, match=r"No Kafka answers at 127\.0\.0\.1:\d+"):
        kafka_module.check_reachable(f"127.0.0.1:{servers.free_port()}")
    with pytest.raises(ServerUnreachable, match=r"No Kafka answers"):
        kafka_module.check_reachable(valkey.address, timeout_s=0.5)
    kafka_module.check_reachable(kafka.address)


def test_no_redis_at_a_url_is_one_sentence_without_the_password(valkey: Server) -> None:
    with pytest.raises(ServerUnreachable, match=r"redis://me:\*\*\*@127\.0\.0\.1") as caught:
        valkey_module.check_reachable(f"redis://me:secret@127.0.0.1:{servers.free_port()}")
    assert "secret" not in str(caught.value)
    valkey_module.check_reachable(valkey_module.url_of(valkey))
