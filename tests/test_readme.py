"""The README's tree is true: one line a file, in the file's own words. `python tests/test_readme.py` renews it."""

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- tree -->\n```\n", "```\n<!-- /tree -->"
ROOMS = ("dags", "jobs", "feature_repo", "models", "docker")
NO_PACKAGES = {
    "dags": "When: which command, after which, on which days. Airflow only",
    "dags/plugins": "What Airflow's API server serves beside its own pages",
    "feature_repo": "Features: Feast's definitions",
    "docker": "Images, and the production composition",
}


def first_line(path: Path) -> str:
    """What a file says of itself: the first line of its docstring, its heading, or its first comment."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").split("\n")[0].lstrip("# ").rstrip(".")
    comments = re.findall(r"(?m)(?:^\s*(?:#(?!!)|//)|/\*+|<!--)\s*(.*?)\s*(?:-->.*|\*/.*)?$", text)
    return next((comment.rstrip(".") for comment in comments if comment and not comment.startswith("syntax=")), "")


def tree() -> str:
    """The tree of the rooms, tracked files only: folders, then files, each with its one line."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *ROOMS], capture_output=True, text=True, check=True, cwd=ROOT
    )
    files = sorted(
        {Path(line) for line in listed.stdout.splitlines()},
        key=lambda p: (ROOMS.index(p.parts[0]), p.parent.parts, p.name),
    )
    lines, folder = [], None
    for file in files:
        if not (ROOT / file).exists():
            continue
        if file.parent != folder:
            folder = file.parent
            room = ROOT / folder / "__init__.py"
            said = first_line(room) if room.exists() else NO_PACKAGES[folder.as_posix()]
            lines.append(f"{folder.as_posix()}/".ljust(30) + said)
        if file.name != "__init__.py":
            lines.append(("  " * len(folder.parts) + file.name).ljust(30) + first_line(ROOT / file))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def test_the_tree_in_the_readme_is_true() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split(BEGIN)[1].split(END)[0]
    assert shown == tree(), "renew it with: python tests/test_readme.py"


def test_every_file_says_what_it_is() -> None:
    assert [line for line in tree().splitlines() if len(line) <= 30] == []


if __name__ == "__main__":
    path = ROOT / "README.md"
    head, rest = path.read_text(encoding="utf-8").split(BEGIN)
    path.write_text(head + BEGIN + tree() + END + rest.split(END)[1], encoding="utf-8")
