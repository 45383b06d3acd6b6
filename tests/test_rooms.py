"""Who may know whom: the import rules of the house, read from the code itself."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("dags", "jobs", "models", "feature_repo")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
SHARED_WITH_MODELS = {
    "jobs.tables", "jobs.events", "jobs.console", "jobs.warehouse", "jobs.features", "jobs.entry", "jobs.signing",
    "jobs.audit",  # one hash chain, and one word for who did it, in the books of both rooms
}  # fmt: skip
STANDARD_ONLY = tuple(
    f"jobs/{name}.py" for name in ("tables", "events", "pseudonyms", "console", "audit", "rights", "entry")
)


@cache
def imports(path: Path, *, top_only: bool = False) -> set[str]:
    """Full names of the modules that a file imports; with `top_only` not those inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(f)
    } | {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.dump(test.test)
        for node in ast.walk(test)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if top_only and id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module in ROOMS}
    return found


def ours(path: Path, room: str) -> set[str]:
    """Modules of `room` (jobs.x, models.x) that a file imports."""
    return {".".join(name.split(".")[:2]) for name in imports(path) if name.startswith(f"{room}.")}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def in_room(room: str) -> list[Path]:
    return [path for path in FILES if name(path).startswith(f"{room}/")]


@pytest.mark.parametrize("path", in_room("dags"), ids=name)
def test_dags_know_the_names_of_tables_and_shops_and_nothing_else_of_ours(path: Path) -> None:
    assert ours(path, "jobs") <= {"jobs.tables", "jobs.sources"}
    assert not ours(path, "models")


@pytest.mark.parametrize("path", in_room("jobs"), ids=name)
def test_jobs_never_import_models(path: Path) -> None:
    assert not ours(path, "models")


@pytest.mark.parametrize("path", in_room("models"), ids=name)
def test_models_speak_to_jobs_in_the_shared_language(path: Path) -> None:
    of_the_edge = {"jobs.pseudonyms", "jobs.tombstones"}
    allowed = SHARED_WITH_MODELS | (of_the_edge if name(path) == "models/serving/edge.py" else set())
    assert ours(path, "jobs") <= allowed
    assert "pyspark" not in {module.split(".")[0] for module in imports(path)}


@pytest.mark.parametrize("path", in_room("models/serving"), ids=name)
def test_serving_never_imports_training_or_evaluation(path: Path) -> None:
    assert not ours(path, "models") & {"models.training", "models.evaluation", "models.registry", "models.tracking"}


@pytest.mark.parametrize("path", in_room("models"), ids=name)
def test_model_files_import_torch_inside_functions(path: Path) -> None:
    heavy = {"torch", "transformers", "sentence_transformers", "mlflow", "implicit"}
    assert not {module.split(".")[0] for module in imports(path, top_only=True)} & heavy


@pytest.mark.parametrize("path", in_room("models"), ids=name)
def test_only_evaluation_reads_the_truth(path: Path) -> None:
    if not name(path).startswith("models/evaluation/"):
        assert '"truth"' not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", [path for path in FILES if name(path) != "models/registry.py"], ids=name)
def test_one_file_speaks_to_the_model_registry(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "registered_model" not in text and "create_model_version" not in text


@pytest.mark.parametrize("path", [ROOT / file for file in STANDARD_ONLY], ids=name)
def test_the_shared_language_is_standard_library_only(path: Path) -> None:
    others = {module.split(".")[0] for module in imports(path)} - set(sys.stdlib_module_names)
    assert others <= {"jobs"}
    assert ours(path, "jobs") <= {"jobs.tables", "jobs.console", "jobs.warehouse", "jobs.audit", "jobs.rights"}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_nothing_can_run_code_from_data(path: Path) -> None:
    modules = {module.split(".")[0] for module in imports(path)}
    assert not modules & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    text = path.read_text(encoding="utf-8")
    assert "torch.load(" not in text and "shell=True" not in text and "allow_pickle=True" not in text


@pytest.mark.parametrize("room", ["jobs", "models"])
def test_help_answers_in_under_a_second(room: str) -> None:
    """The help imports the standard library and our own words, nothing heavy."""
    code = (
        f"import sys; from {room}.__main__ import parser; parser().format_help();"
        "print([m for m in ('pyarrow', 'numpy', 'pyspark', 'torch', 'feast', 'mlflow', 'airflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_project_names_no_registry_and_no_telemetry_host() -> None:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    hosts = ("pypi" + ".org", "files.pythonhosted" + ".org", "registry.npmjs" + ".org", "deb.debian" + ".org")
    for file in listed:
        text = (ROOT / file).read_bytes().decode("utf-8", "replace")
        assert not [host for host in hosts if host in text], file


def brought(wanted: Iterable[str]) -> set[str]:
    """The distributions that are installed where these requirements are: themselves, and all that they require."""
    seen: set[tuple[str, str]] = set()
    left = [Requirement(line) for line in wanted]
    while left:
        asked = left.pop()
        for extra in ("", *asked.extras):
            if (key := (canonicalize_name(asked.name), extra)) in seen:
                continue
            seen.add(key)
            try:
                needs = map(Requirement, metadata.requires(asked.name) or [])
            except metadata.PackageNotFoundError:
                continue  # of another platform
            left += [need for need in needs if not need.marker or need.marker.evaluate({"extra": extra})]
    return {distribution for distribution, _ in seen}


def modules_named(path: Path) -> set[str]:
    """The top names of what a file imports, or asks pytest to import."""
    asked = {
        node.args[0].value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("importorskip", "import_module"))
        if node.args and isinstance(node.args[0], ast.Constant)
    }
    return {module.split(".")[0] for module in imports(path) | asked}


def test_whatever_is_imported_is_installed_by_what_pyproject_declares() -> None:
    """An environment in which something was once installed by hand hides that a clean one lacks it."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *declared["dependencies"],
        *(line for extra in declared["optional-dependencies"].values() for line in extra),
    ]
    installed, owners = brought(wanted), metadata.packages_distributions()
    lacking = {
        f"{name(path)} imports {module}"
        for path in [*FILES, *(ROOT / "tests").rglob("*.py")]
        for module in modules_named(path) - set(sys.stdlib_module_names) - {*ROOMS, "tests", "command_line", "person"}
        if not {canonicalize_name(owner) for owner in owners.get(module, [])} & installed
    }
    assert not lacking
