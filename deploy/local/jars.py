"""Apache Kafka's jars: pinned by coordinate and sha256, downloaded once, checked at every start.

The resolver does not check digests, and two resolvers at once break each other. So the download runs
under a file lock into a temporary folder. Each jar is compared with its digest in the list and then
renamed into the store.
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
# One store per checkout, because tests use many data directories and the jars are 45 MB.
STORE = CHECKOUT / ".odometer" / "jars"

# A repository answers in well under a second. A dead connection must be reported soon.
FETCH_TIMEOUT_S = 20
# The files are small: more downloads at once gain nothing and look like an attack.
FETCHES_AT_ONCE_MAX = 4

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Pin:
    """One jar of the list. `name` is the name of its file in the store."""

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
    """Return the checked jars. Download those that are missing or damaged first.

    `progress(done, of)` counts jars and is called only during a download. `remotes` replaces the
    resolver's own repository, by name and URL. Raises JarsUnavailable.
    """
    wanted = read_pins() if pins is None else pins
    if any(not is_intact(store, pin) for pin in wanted):
        try:
            store.mkdir(parents=True, exist_ok=True)
            with _locked(store / ".lock"):
                for folder in store.glob(".new-*"):
                    shutil.rmtree(folder)  # left by a killed start: the lock is ours
                # Check again under the lock: another start may have downloaded them meanwhile.
                lacking = [pin for pin in wanted if not is_intact(store, pin)]
                _fetch_all(store, lacking, progress, remotes)
        except OSError as error:
            # The errors of requests are OSErrors too, but _fetch has translated them.
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
        return False  # missing or unreadable: a download repairs both


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
            f"Kafka's jars must be downloaded once, and the network failed: {pin.coordinate} ended"
            f" with {type(error).__name__}. Start again when there is a network; the jars that arrived"
            " are kept."
        ) from error
    except RuntimeError as error:
        raise JarsUnavailable(
            f"The jar {pin.coordinate} is not in the Maven repository, or a proxy rejects the download."
        ) from error
    found = hashlib.sha256(jar.read_bytes()).hexdigest()
    if found != pin.sha256:
        raise JarsUnavailable(
            f"The jar {pin.coordinate} has the sha256 {found[:16]}..., but {LIST_FILE.name} says"
            f" {pin.sha256[:16]}...: it is rejected. Start again to download it again."
        )
    jar.replace(store / pin.name)


@contextmanager
def _machine_certificates() -> Iterator[None]:
    """Use the machine's certificates: a company's own authority is rarely in Python's bundle."""
    before = ssl.SSLContext
    truststore.inject_into_ssl()
    try:
        yield
    finally:
        if before is not ssl.SSLContext:
            truststore.extract_from_ssl()
