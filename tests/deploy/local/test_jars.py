"""Kafka's jars: fetched over HTTP from loopback, checked by digest, mended or refused."""

import functools
import gc
import hashlib
import http.server
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.errors import JarsUnavailable
from deploy.local import jars, servers
from deploy.local.jars import Pin

COORDINATES = ("org.example:alpha:1.0", "org.example.deep:beta_2.13:4.3.0", "a.b:c:1.2:linux")


def content_of(coordinate: str) -> bytes:
    return f"jar of {coordinate}".encode() * 100


PINS = tuple(
    Pin(coordinate, hashlib.sha256(content_of(coordinate)).hexdigest())
    for coordinate in COORDINATES
)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """jgo leaves the response of a 404 to the collector, which would warn in some later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        """A test's output is no place for access logs."""


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder laid out as Maven does, and the loopback server that serves it."""
    folder = tmp_path / "repository"
    for pin in PINS:
        file = folder / path_of(pin)
        file.parent.mkdir(parents=True)
        file.write_bytes(content_of(pin.coordinate))
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, {"local": f"http://127.0.0.1:{server.server_port}"}
        server.shutdown()
        thread.join()


def path_of(pin: Pin) -> Path:
    group, artifact, version, *_classifier = pin.coordinate.split(":")
    return Path(*group.split("."), artifact, version, pin.name)


def test_the_list_pins_every_jar_once_and_names_no_host() -> None:
    pins = jars.read_pins()
    assert len({pin.name for pin in pins}) == len(pins) >= 46
    assert all(len(pin.sha256) == 64 for pin in pins)
    assert any(pin.coordinate == "org.apache.kafka:kafka_2.13:4.3.0" for pin in pins)
    assert any("slf4j-impl" in pin.coordinate for pin in pins)
    assert "://" not in jars.LIST_FILE.read_text()


def test_missing_jars_are_fetched_and_then_no_network_is_needed(
    repository: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    seen: list[tuple[int, int]] = []
    found = jars.ensure_jars(
        store, PINS, progress=lambda *at: seen.append(at), remotes=repository[1]
    )
    assert [jar.read_bytes() for jar in found] == [content_of(name) for name in COORDINATES]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert jars.ensure_jars(store, PINS, remotes=nowhere()) == found


@pytest.mark.parametrize("damage", ["changed", "truncated", "removed"])
def test_a_damaged_jar_is_fetched_again(
    repository: tuple[Path, dict[str, str]], tmp_path: Path, damage: str
) -> None:
    store = tmp_path / "store"
    _alpha, beta, _classified = jars.ensure_jars(store, PINS, remotes=repository[1])
    good = beta.read_bytes()
    if damage == "removed":
        beta.unlink()
    else:
        beta.write_bytes(good[:-7] if damage == "truncated" else b"X" + good[1:])
    seen: list[tuple[int, int]] = []
    jars.ensure_jars(store, PINS, progress=lambda *at: seen.append(at), remotes=repository[1])
    assert beta.read_bytes() == good
    assert seen == [(1, 1)]


def test_a_jar_that_is_not_what_the_list_says_is_refused(
    repository: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, remotes = repository
    (folder / path_of(PINS[1])).write_bytes(b"something else")
    with pytest.raises(JarsUnavailable, match=r"org\.example\.deep:beta.*rejected"):
        jars.ensure_jars(tmp_path / "store", PINS, remotes=remotes)
    assert not (tmp_path / "store" / PINS[1].name).exists()


def test_no_network_is_one_sentence_and_what_was_there_is_kept(
    repository: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    jars.ensure_jars(store, PINS[:1], remotes=repository[1])
    with pytest.raises(JarsUnavailable, match="the network failed"):
        jars.ensure_jars(store, PINS, remotes=nowhere())
    assert jars.is_intact(store, PINS[0])
    assert sorted(path.name for path in store.iterdir()) == [".lock", PINS[0].name]


def test_a_jar_that_is_nowhere_is_one_sentence(
    repository: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    unknown = Pin("org.example:unknown:1.0", "0" * 64)
    with pytest.raises(JarsUnavailable, match="is not in the Maven repository"):
        jars.ensure_jars(tmp_path / "store", (unknown,), remotes=repository[1])


def test_two_first_starts_at_once_both_succeed(
    repository: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    fetched: list[tuple[int, int]] = []
    failures: list[JarsUnavailable] = []
    barrier = threading.Barrier(2)

    def first_start() -> None:
        barrier.wait()
        try:
            jars.ensure_jars(
                store, PINS, progress=lambda *at: fetched.append(at), remotes=repository[1]
            )
        except JarsUnavailable as error:
            failures.append(error)

    threads = [threading.Thread(target=first_start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(fetched) == [(1, 3), (2, 3), (3, 3)]


def test_a_store_that_cannot_be_written_is_one_sentence(
    repository: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(JarsUnavailable, match="could not be written to"):
        jars.ensure_jars(blocked / "store", PINS, remotes=repository[1])


def nowhere() -> dict[str, str]:
    return {"nowhere": f"http://127.0.0.1:{servers.free_port()}"}
