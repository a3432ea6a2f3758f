"""The wheel of the client: one package, one small dependency, and nothing of the app's names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from deploy.client.build import CannotBuild, build, closure, rewritten
from deploy.settings import CHECKOUT
from tests.deploy.client.environments import Environment, client_environment, needed_by_client
from tests.schemas.formats.fixtures import FOLDER
from tests.streams.meter.receiver import receiver_of

INSTALLED_BYTES_MAX = 2_000_000
DEPENDENCIES_MAX = 3
HEAVY = ("pydantic", "numpy", "google", "xxhash", "redis", "faust", "aiokafka", "pip")

APP = """
import importlib.util, json, sys
from pathlib import Path

import api, deploy, schemas, streams
from odometer import Counts, InvalidConfig, Meter

url, answer, *heavy = sys.argv[1:]
own = [one.MINE for one in (api, deploy, schemas, streams)]
assert own == ["api", "deploy", "schemas", "streams"]
assert not [name for name in heavy if importlib.util.find_spec(name)]
with Meter(url, source="app") as meter:
    meter.record("llm", input_tokens=3)
    meter.record_from(json.loads(Path(answer).read_text(encoding="utf-8"))["body"])
    assert meter.flush(30)
    print(json.dumps(meter.counts))
try:
    Meter("kafka://127.0.0.1:1/usage.events", source="app")
except InvalidConfig as error:
    print(error)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return client_environment(tmp_path_factory.mktemp("client"))


def test_it_is_one_typed_package_and_small(environment: Environment) -> None:
    installed = sorted(path.name for path in environment.site_packages.iterdir())
    packages = {name for name in installed if not name.endswith(".dist-info")}
    assert packages == {"msgspec", "odometer"}
    assert (environment.site_packages / "odometer" / "py.typed").is_file()
    assert len(installed) - len(packages) <= 1 + DEPENDENCIES_MAX
    files = [path for path in environment.site_packages.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= INSTALLED_BYTES_MAX


def test_an_app_with_packages_of_the_same_names_records_through_it(
    environment: Environment, tmp_path: Path
) -> None:
    for name in ("api", "schemas", "streams", "deploy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"MINE = {name!r}\n")
    (tmp_path / "app.py").write_text(APP)
    with receiver_of([]) as receiver:
        said = environment.run(
            "app.py", receiver.url, str(FOLDER / "openai" / "chat.json"), *HEAVY, cwd=tmp_path
        ).splitlines()
    assert json.loads(said[0]) == [2, 0, 0, 0]
    assert said[1].endswith('pip install "$(ls dist/odometer_client-*.whl)[kafka]"')
    ((first, second),) = receiver.bodies
    assert first["input_tokens"] == 3
    assert "choices" not in second


def test_the_same_checkout_gives_the_same_wheel(tmp_path: Path) -> None:
    first, second = build(tmp_path / "a"), build(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert needed_by_client(first) == {"msgspec"}


def test_a_module_that_needs_more_cannot_be_built_in(tmp_path: Path) -> None:
    for name in ("schemas", "streams"):
        shutil.copytree(CHECKOUT / name, tmp_path / name)
    for name in ("LICENSE", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, tmp_path / name)
    units = tmp_path / "schemas" / "units.py"
    units.write_text(units.read_text() + "\n\nimport numpy\n")
    with pytest.raises(CannotBuild, match=r"schemas\.units imports numpy"):
        build(tmp_path / "out", tmp_path)


def test_the_meter_brings_no_module_that_it_does_not_import() -> None:
    modules = closure()
    assert "schemas.event.event_struct" in modules
    assert "streams.kafka.producer" in modules
    assert not modules.keys() & {
        "schemas.event.usage_event",
        "schemas.formats.parse",
        "streams.core",
    }


def test_imports_move_under_the_one_package() -> None:
    text = (
        "from schemas.errors import (\n    InvalidConfig,\n)\nschemas = 1  # from schemas.errors\n"
    )
    assert rewritten(text).splitlines() == [
        "from odometer._schemas.errors import (",
        "    InvalidConfig,",
        ")",
        "schemas = 1  # from schemas.errors",
    ]
    with pytest.raises(CannotBuild, match=r"write `from \.\.\. import`"):
        rewritten("import schemas.errors\n")
