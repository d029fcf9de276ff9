"""The Compose file against Compose's own schema, its commands with a real PostgreSQL; no container has run it."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import psycopg
import pytest
import yaml
from gpufleet_dashboards.discovery import every_board

from tests.e2e.stack import BIN, wait_for
from tests.ports import free_port
from tests.postgres import DISPOSABLE, NoPostgresError, postgres

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "dashboards/compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
CONTAINERFILE = (FOLDER / "Containerfile").read_text()


def schema() -> dict[str, Any]:
    """Compose's schema, as a package has it that checks files of many kinds."""
    spec = find_spec("check_jsonschema")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).parent / "builtin_schemas/vendor/compose-spec.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_compose_knows_every_field() -> None:
    """Types, required fields, and none that is misspelt."""
    jsonschema_rs.validate(schema(), COMPOSE)


def test_a_misspelt_field_would_be_found() -> None:
    """The schema is not so lenient that the test above says nothing."""
    wrong = {**COMPOSE, "services": {"grafana": {**SERVICES["grafana"], "helthcheck": {}}}}
    with pytest.raises(jsonschema_rs.ValidationError, match="helthcheck"):
        jsonschema_rs.validate(schema(), wrong)


@pytest.mark.parametrize("kind", ["secrets", "networks"])
def test_what_services_name_is_declared(kind: str) -> None:
    """No secret or network is missing, and none is there for nothing."""
    named = {name for service in SERVICES.values() for name in service.get(kind, [])}
    assert named == set(COMPOSE[kind])


def test_volumes_are_declared_and_belong_to_somebody() -> None:
    """Named volumes, each mounted somewhere."""
    mounted = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert mounted == set(COMPOSE["volumes"])


def test_each_waits_for_what_it_needs() -> None:
    """Conditions are of services that can meet them: those that are healthy have a check, those that complete end."""
    for service in SERVICES.values():
        for name, needed in service.get("depends_on", {}).items():
            healthy = needed["condition"] == "service_healthy"
            assert "healthcheck" in SERVICES[name] if healthy else SERVICES[name]["restart"] == "no"
    assert all("healthcheck" in service for service in SERVICES.values() if service["restart"] != "no")


def test_every_secret_and_variable_is_in_the_example() -> None:
    """Whoever fills in the example has said all there is to say, and no password is in the file itself."""
    example = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", (FOLDER / "example.env").read_text(), re.MULTILINE))
    written = (FOLDER / "compose.yaml").read_text()
    asked = {secret["environment"] for secret in COMPOSE["secrets"].values()}
    assert asked | set(re.findall(r"\$\{([A-Z_]+)", written)) == set(example)
    assert all(example[name] == "" for name in asked)


def test_images_are_pinned_and_ports_are_of_this_machine() -> None:
    """No image without a version; nothing listens beyond loopback unless it is said."""
    assert all(re.search(r":\d+(\.\d+)+$", service["image"]) for service in SERVICES.values())
    assert re.findall(r"^FROM (\S+)", CONTAINERFILE, re.MULTILINE) == ["docker.io/library/python:3.13-slim"] * 2
    for port in (port for service in SERVICES.values() for port in service.get("ports", [])):
        assert re.fullmatch(r"\$\{[A-Z_]+:-127\.0\.0\.1:\d+\}:\d+", port)


def test_the_image_copies_what_is_there() -> None:
    """The build's context, and each path that is copied from it."""
    build = SERVICES["gpufleet"]["build"]
    assert (FOLDER / build["context"]).resolve() == ROOT
    assert ROOT / build["dockerfile"] == FOLDER / "Containerfile"
    for line in re.findall(r"^COPY ([^-].*)$", CONTAINERFILE, re.MULTILINE):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources), line
    kept = re.findall(r"^!(.+)$", (FOLDER / "Containerfile.dockerignore").read_text(), re.MULTILINE)
    assert all((ROOT / each).is_dir() for each in kept)


# --- its commands --------------------------------------------------------------------------------------------------

READERS = "r$ader \"2'"


@dataclass(frozen=True)
class Place:
    """What the commands find around them: programs, secrets, a folder to write to, an empty database of theirs."""

    folder: Path
    database: str
    environment: dict[str, str]

    def run(self, service: str, **instead: str) -> subprocess.Popen[bytes]:
        """Start what a service runs, with our folder for the image's, and other words instead of some."""
        words = [*SERVICES[service]["entrypoint"], *SERVICES[service]["command"]]
        command = [instead.get(word, word).replace("/usr/local/bin", str(FOLDER)) for word in words]
        return subprocess.Popen(command, env=self.environment)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """With a PostgreSQL of its own: roles are of a whole server."""
    try:
        with postgres(tmp_path / "postgres", DISPOSABLE) as server:
            url = urlsplit(server.create_database("gpufleet"))
            named = url._replace(netloc=f"{url.username}@{url.hostname}:{url.port}").geturl()
            (tmp_path / "database_password").write_text(f"{url.password}\n")
            (tmp_path / "reader_password").write_text(f"{READERS}\n")
            found = {
                "SECRETS": str(tmp_path), "PROVISIONING": str(tmp_path / "provisioning"), "GPUFLEET_DATABASE": named,
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path),
            }  # fmt: skip
            yield Place(tmp_path, named, found)
    except NoPostgresError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_its_commands_prepare_and_serve(place: Place) -> None:
    """Twice, as after an upgrade: schema, role and files; then the server is as ready as its health check wants it."""
    assert SERVICES["gpufleet"]["environment"] == {"GPUFLEET_DATABASE": "postgresql://gpufleet@postgres/gpufleet"}
    assert [place.run("prepare").wait(120) for _ in range(2)] == [0, 0]
    _check_files(Path(place.environment["PROVISIONING"]))
    with psycopg.connect(place.database, user="gpufleet_reader", password=READERS) as reader:
        assert reader.execute("SELECT count(*) FROM grafana.places").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("SELECT * FROM public.tokens")
    port = free_port()
    server = place.run("gpufleet", **{"0.0.0.0:8478": f"127.0.0.1:{port}"})
    try:
        _, *check = [word.replace(":8478", f":{port}") for word in SERVICES["gpufleet"]["healthcheck"]["test"]]
        healthy = partial(subprocess.run, check, env=place.environment, stderr=subprocess.DEVNULL, check=False)
        wait_for("a healthy server", lambda: healthy().returncode == 0, 60)
    finally:
        server.terminate()
    assert server.wait(60) == 0
    assert healthy().returncode != 0


def _check_files(folder: Path) -> None:
    """What Grafana is started with names the database, the role and the secret as this file has them."""
    (source,) = yaml.safe_load((folder / "datasources/gpufleet.yml").read_text())["datasources"]
    assert source["url"] == "postgres:5432" and "postgres" in SERVICES
    assert (source["user"], source["jsonData"]["database"]) == ("gpufleet_reader", "gpufleet")
    assert source["secureJsonData"] == {"password": "$__file{/run/secrets/reader_password}"}
    assert "reader_password" in SERVICES["grafana"]["secrets"]
    (provider,) = yaml.safe_load((folder / "dashboards/gpufleet.yml").read_text())["providers"]
    boards = Path(provider["options"]["path"])
    assert str(boards.parent) == SERVICES["grafana"]["environment"]["GF_PATHS_PROVISIONING"] == "/provisioning"
    assert {file.stem for file in (folder / boards.name).iterdir()} == {board.uid for board in every_board().values()}
    text = "".join(file.read_text() for file in folder.rglob("*") if file.is_file())
    assert READERS not in text
