"""Apache Kafka's jars: pinned by coordinate and sha256, fetched once, checked at every start.

The resolver checks no digest and two of them at once break each other, so: under a file lock, into
a temporary folder, the digest of each compared with the list, and only then renamed into the store.
"""

import fcntl
import hashlib
import shutil
import ssl
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import truststore
from jgo.maven import MavenContext, PythonResolver

from deploy.errors import JarsUnavailable
from deploy.settings import CHECKOUT

LIST_FILE = Path(__file__).with_name("kafka-jars.txt")
# One store a checkout, whatever the data directory is: tests use many of those, 45 MB is enough once.
STORE = CHECKOUT / ".odometer" / "jars"

# A repository answers in well under a second; a dead line must not look like a slow one for long.
FETCH_TIMEOUT_S = 20
# Small files over one line: more than a few at once gains nothing and looks like an attack.
FETCHES_AT_ONCE_MAX = 4

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Pin:
    """One jar of the list. `name` is its file in the store."""

    coordinate: str
    sha256: str

    @property
    def name(self) -> str:
        _group, artifact, *version_and_classifier = self.coordinate.split(":")
        return "-".join([artifact, *version_and_classifier]) + ".jar"


def ensure_jars(
    store: Path = STORE,
    pins: tuple[Pin, ...] | None = None,
    *,
    progress: Progress | None = None,
    remotes: dict[str, str] | None = None,
) -> list[Path]:
    """Return the checked jars, those that are missing or damaged fetched first.

    `progress(done, of)` counts jars and is called only while some are fetched. `remotes` replaces
    the resolver's own repository, by name and URL.
    """
    wanted = read_pins() if pins is None else pins
    if any(not is_intact(store, pin) for pin in wanted):
        try:
            store.mkdir(parents=True, exist_ok=True)
            with _locked(store / ".lock"):
                for folder in store.glob(".new-*"):
                    shutil.rmtree(folder)  # left by a killed start; nobody else is in here
                # Looked at again under the lock: another start may have fetched them meanwhile.
                lacking = [pin for pin in wanted if not is_intact(store, pin)]
                _fetch_all(store, lacking, progress, remotes)
        except OSError as error:
            # requests' errors are OSErrors too, and are translated where they are raised.
            raise JarsUnavailable(
                f"Kafka's jars could not be written to {store}: {error.strerror or error}."
            ) from error
    return [store / pin.name for pin in wanted]


def read_pins(list_file: Path = LIST_FILE) -> tuple[Pin, ...]:
    lines = (line.strip() for line in list_file.read_text(encoding="utf-8").splitlines())
    return tuple(Pin(*line.split()) for line in lines if line and not line.startswith("#"))


def is_intact(store: Path, pin: Pin) -> bool:
    try:
        with (store / pin.name).open("rb") as jar:
            return hashlib.file_digest(jar, "sha256").hexdigest() == pin.sha256
    except OSError:
        return False  # missing or unreadable: both are mended by fetching it


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_all(
    store: Path, pins: list[Pin], progress: Progress | None, remotes: dict[str, str] | None
) -> None:
    with (
        tempfile.TemporaryDirectory(dir=store, prefix=".new-") as folder,
        _machine_certificates(),
        ThreadPoolExecutor(FETCHES_AT_ONCE_MAX) as pool,
    ):
        context = MavenContext(
            resolver=PythonResolver(),
            repo_cache=Path(folder),
            remote_repos=remotes,
            timeout=FETCH_TIMEOUT_S,
        )
        fetches = [pool.submit(_fetch, context, pin, store) for pin in pins]
        try:
            for done, fetch in enumerate(fetches, start=1):
                fetch.result()
                if progress is not None:
                    progress(done, len(pins))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _fetch(context: MavenContext, pin: Pin, store: Path) -> None:
    try:
        jar = context.create_dependency(pin.coordinate).artifact.resolve()
    except requests.RequestException as error:
        raise JarsUnavailable(
            f"Kafka's jars have to be fetched once and the network does not let us: {pin.coordinate}"
            f" failed with {type(error).__name__}. Start again when there is a network;"
            " what was fetched is kept."
        ) from error
    except RuntimeError as error:
        raise JarsUnavailable(
            f"The jar {pin.coordinate} is not where Maven artifacts are published, or a proxy on"
            " the way refuses it."
        ) from error
    found = hashlib.sha256(jar.read_bytes()).hexdigest()
    if found != pin.sha256:
        raise JarsUnavailable(
            f"The jar {pin.coordinate} came with sha256 {found[:16]}..., but the list"
            f" {LIST_FILE.name} says {pin.sha256[:16]}...: it is refused, start again to retry."
        )
    jar.replace(store / pin.name)


@contextmanager
def _machine_certificates() -> Iterator[None]:
    """Trust what the machine trusts: a company's own authority is rarely in Python's bundle."""
    before = ssl.SSLContext
    truststore.inject_into_ssl()
    try:
        yield
    finally:
        if before is not ssl.SSLContext:
            truststore.extract_from_ssl()
