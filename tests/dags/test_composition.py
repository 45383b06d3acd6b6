"""The images and the production composition, as far as they can be judged without a container engine."""

import configparser
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {"data", "learn", "serve", "orchestrate"}


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "docker" / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def composition() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())


def stages(dockerfile: str) -> dict[str, str]:
    """The text of each stage by its name."""
    parts = re.split(r"^FROM \S+ AS (\w+)\n", dockerfile, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_one_image_a_room_with_its_own_extra(dockerfile: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    made = stages(dockerfile)
    assert set(made) >= ROOMS
    for room in ROOMS:
        named = re.search(r"\.\[([\w,]+)\]", made[room])
        assert named and room in named[1].split(",") and set(named[1].split(",")) <= set(extras)
        assert "USER endcap" in made[room]


def test_every_stage_stands_on_one_that_is_there(dockerfile: str) -> None:
    seen = {"${PYTHON}"}
    for base, name in re.findall(r"^FROM (\S+) AS (\w+)$", dockerfile, flags=re.M):
        assert base in seen
        seen.add(name)


def test_every_file_that_is_copied_exists(dockerfile: str) -> None:
    for line in re.findall(r"^COPY (.+)$", dockerfile, flags=re.M):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources if source != "README.md"), line


def test_services_use_our_targets(dockerfile: str, composition: dict[str, Any]) -> None:
    built = {s["build"]["target"] for s in composition["services"].values() if "build" in s}
    assert built == ROOMS <= set(stages(dockerfile))
    assert {"postgres", "redis", "mlflow", "airflow-scheduler", "airflow-dags", "airflow-api", "api"} <= set(
        composition["services"]
    )


def test_ports_are_loopback_and_secrets_are_files(composition: dict[str, Any]) -> None:
    for service in composition["services"].values():
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))
        assert set(service.get("secrets", [])) <= set(composition["secrets"])
        for name, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|SECRET|KEY", name):
                assert ("/run/" in str(value) and "secrets" in str(value)) or value.endswith("passwords.json"), name
    assert all(set(secret) == {"file"} for secret in composition["secrets"].values())


def test_mlflow_lets_in_only_whom_it_knows(composition: dict[str, Any]) -> None:
    settings = configparser.ConfigParser()
    settings.read_string((ROOT / "docker" / "mlflow.ini").read_text())
    assert settings["mlflow"]["default_permission"] == "READ" and "admin_password" not in settings["mlflow"]
    server = composition["services"]["mlflow"]
    assert " ".join(server["entrypoint"]).startswith("/opt/endcap/docker/with-secrets python -m mlflow server")
    assert server["entrypoint"][server["entrypoint"].index("--app-name") + 1] == "basic-auth"
    assert server["environment"]["MLFLOW_AUTH_CONFIG_PATH"].endswith("docker/mlflow.ini")
    ours = f"MLFLOW_TRACKING_USERNAME={settings['mlflow']['admin_username']}\n"
    assert ours in (ROOT / "docker" / "with-secrets").read_text()
    clients = [service for service in composition["services"].values() if "airflow_jwt" in service.get("secrets", [])]
    assert clients and all("mlflow_password" in service["secrets"] for service in (server, *clients))


def test_only_rooms_that_need_a_shops_home_have_it(composition: dict[str, Any]) -> None:
    """The keys and the closed zone lie in the home: the tracking server, open to everyone who trains, is not there."""
    has = {name for name, service in composition["services"].items()
           if any(volume.startswith("endcap-home:") for volume in service.get("volumes", []))}  # fmt: skip
    assert has == {"airflow-migrate", "airflow-api", "airflow-scheduler", "airflow-dags", "api", "data"}


def test_volumes_and_dependencies_are_declared(composition: dict[str, Any]) -> None:
    for service in composition["services"].values():
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(composition["volumes"])
        assert set(service.get("depends_on", [])) <= set(composition["services"])
