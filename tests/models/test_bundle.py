"""A sealed folder: formats that cannot run, hashes that hold, the same bytes again."""

import json
from pathlib import Path

import pytest

from jobs.console import Problem
from models.bundle import SEAL, Bundle, building, bundles, keep, open_bundle, seal


def sealed(folder: Path) -> Bundle:
    return seal(folder, shop="shop", name="recommend", kind="test", settings={"b": 2, "a": 1}, data=["z", "y"])


@pytest.mark.parametrize("name", ["model.pkl", "weights.pt", "run.py", "model.bin", "x.npz", "README"])
def test_formats_that_may_run_code_are_refused(home: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(Problem, match="may not hold"):
        sealed(tmp_path)


def test_links_are_refused(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "a.json").symlink_to("/etc/hostname")
    with pytest.raises(Problem, match="not links"):
        sealed(folder)


def test_the_same_content_has_the_same_seal(home: Path, tmp_path: Path) -> None:
    hashes = []
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "a.json").write_text("1")
        hashes.append(sealed(folder).sha256)
    assert hashes[0] == hashes[1]
    assert json.loads((tmp_path / "one" / SEAL).read_text())["files"].keys() == {"deep/a.json"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}'])
def test_a_broken_seal_is_a_problem_that_names_it(home: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / SEAL).write_text(text)
    with pytest.raises(Problem, match="seal"):
        open_bundle(tmp_path)
    with pytest.raises(Problem, match="no bundle here"):
        open_bundle(tmp_path / "nowhere")


def test_building_leaves_nothing_behind_when_it_fails(home: Path) -> None:
    with pytest.raises(RuntimeError), building("shop", "recommend") as folder:
        raise RuntimeError
    assert not folder.exists()


def test_a_version_is_kept_once_and_the_file_names_are_checked(home: Path) -> None:
    for again in (False, True):
        with building("shop", "recommend") as folder:
            (folder / "a.json").write_text("1")
            sealed(folder)
        if again:
            with pytest.raises(Problem, match="already there"):
                keep(folder, 4)
        else:
            kept = keep(folder, 4)
            assert not folder.exists() and kept.version == 4 and kept.folder == bundles("shop", "recommend") / "4"
    with pytest.raises(Problem, match="no file"):
        kept.file("b.json")
