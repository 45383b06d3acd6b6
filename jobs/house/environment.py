"""What every process of ours is started with: quiet dependencies, one home, loopback only."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from jobs.console import Problem
from jobs.warehouse import home, sqlite

ROOT = Path(__file__).resolve().parents[2]
JAVA_NEEDED = 17
GET_JAVA = (
    "install Java 17 or later: 'sudo apt-get install openjdk-17-jre-headless' (Debian, Ubuntu), "
    "'sudo dnf install java-17-openjdk-headless' (Fedora), 'brew install openjdk@17' (macOS); or set JAVA_HOME"
)

# No dependency phones home, and none looks for a newer version of itself.
QUIET = {
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "SCARF_ANALYTICS": "false",
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "FEAST_USAGE": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # evaluation jobs of its own, which would only cost memory
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def dags_folder() -> Path:
    """Where the DAGs lie: `$ENDCAP_DAGS`, else beside the packages in the checkout."""
    return Path(os.environ.get("ENDCAP_DAGS") or ROOT / "dags").resolve()


def run_folder() -> Path:
    """Process ids, logs and generated passwords; nobody else may read it."""
    folder = home() / "run"
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def quiet(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ`, with this home and every dependency's telemetry off.

    `SPT_NOENV` keeps a process that renames itself from writing over its environment: that is how its
    children are found again after a crash. A thread of torch that waits gives its core away, unless told
    otherwise: models learn side by side, and spinning threads of one hold up the other.
    """
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        **environ,
        **QUIET,
        "ENDCAP_HOME": str(home()),
        "SPT_NOENV": "1",
        "PYTHONUNBUFFERED": "1",
    }


def airflow(environ: Mapping[str, str], *, port: int, shop: str) -> dict[str, str]:
    """The environment of Airflow's processes: LocalExecutor on SQLite, loopback, its home inside ours."""
    base = f"http://127.0.0.1:{port}"
    return quiet(environ) | {
        "ENDCAP_SHOP": shop,
        "AIRFLOW_HOME": str(home() / "airflow"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": sqlite(home() / "airflow" / "airflow.db"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder()),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(dags_folder() / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{base}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,reviewer:user,viewer:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home() / "run" / "passwords.json"),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": base,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",  # as late the end of a task is often seen (5 s): docs/stack.md
    }


def script(name: str) -> str:
    """A program of the same environment as this Python."""
    return str(Path(sys.executable).with_name(name))


def java(environ: Mapping[str, str]) -> tuple[str, int]:
    """The `java` that Spark would start, and its major version; a `Problem` that says how to get one."""
    given = environ.get("JAVA_HOME")
    found = str(Path(given) / "bin" / "java") if given else shutil.which("java", path=environ.get("PATH", ""))
    if not found or not Path(found).is_file():
        raise Problem("Java is missing", where=found or "PATH", do=GET_JAVA)
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False, env=dict(environ))
    version = re.search(r'version "(\d+)(?:\.(\d+))?', told.stderr)
    if version is None:
        raise Problem(f"cannot tell the version of Java: exit code {told.returncode}", where=found, do=GET_JAVA)
    major = int(version[2] or 0) if version[1] == "1" else int(version[1])
    if major < JAVA_NEEDED:
        raise Problem(f"Java {major} is too old: Spark needs {JAVA_NEEDED} or later", where=found, do=GET_JAVA)
    return found, major
