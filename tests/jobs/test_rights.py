"""Rights: the closed zone its owner's alone, the rest at most one group's, and a doctor that sees what is not so."""

import os
import stat
from argparse import Namespace
from pathlib import Path

import pytest

from jobs import rights
from jobs.entry import entered
from jobs.house import doctor
from jobs.tables import ZONES
from models.__main__ import parser as models_parser


@pytest.fixture
def root(home: Path) -> Path:
    """A shop's home as an earlier, careless umask left it."""
    for place in (*rights.CLOSED, *rights.OPENED):
        (home / "toy" / place).mkdir(parents=True)
    for path in (home / "toy").rglob("*"):
        path.chmod(0o755)
    (home / "toy").chmod(0o755)
    return home / "toy"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_zone_is_closed_or_open_and_never_both() -> None:
    places = {*rights.CLOSED, *rights.OPENED}
    assert {f"warehouse/{zone}" for zone in ZONES} <= places and len(places) == len(rights.CLOSED) + len(rights.OPENED)
    assert {"warehouse/raw", "warehouse/clean", "warehouse/quarantine", "feedback", "keys"} <= set(rights.CLOSED)


def test_on_one_machine_everything_is_the_owners(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENDCAP_GROUP", raising=False)
    assert len(rights.too_open(root)) == len(rights.CLOSED) + len(rights.OPENED) + 2
    rights.settle("toy")
    assert rights.too_open(root) == [] and mode(root / "warehouse" / "safe") == mode(root / "keys") == 0o700


def test_a_group_reads_what_is_below_safe_and_never_the_closed_zone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import grp

    monkeypatch.setenv("ENDCAP_GROUP", grp.getgrgid(os.getgid()).gr_name)
    rights.settle("toy")
    assert (mode(root), mode(root / "warehouse")) == (0o710, 0o710)
    assert mode(root / "warehouse" / "stats") == 0o2750 and mode(root / "reports") == 0o2750
    for place in rights.CLOSED:
        assert mode(root / place) == 0o700, place
    assert rights.too_open(root) == []


def test_an_unknown_group_opens_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENDCAP_GROUP", "no-such-group")
    rights.settle("toy")
    assert "not opened to the group 'no-such-group'" in capsys.readouterr().err
    assert mode(root / "warehouse" / "safe") == 0o700


def test_the_doctor_says_how_to_mend(root: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENDCAP_GROUP", raising=False)
    rights.settle("toy")
    assert doctor.judge_rights(home).verdict == "pass"
    (root / "warehouse" / "raw").chmod(0o750)
    found = doctor.judge_rights(home)
    assert found.verdict == "fail" and found.mend == f"chmod 700 {root / 'warehouse' / 'raw'}"
    assert "mode 750" in found.found


def test_what_a_command_makes_is_its_owners_alone(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENDCAP_GROUP", raising=False)
    before = os.umask(0o022)
    try:
        with entered(Namespace(shop="toy", command="tables")):
            (tmp_path / "made").write_text("x")
            (root / "warehouse" / "raw").chmod(0o755)  # as a step might leave it
        assert mode(tmp_path / "made") == 0o600 and mode(root / "warehouse" / "raw") == 0o700
    finally:
        os.umask(before)
    assert models_parser().parse_args(["list", "--shop", "toy"]).command == "list"


def test_an_encrypted_volume_is_seen_through_the_devices_below_it(tmp_path: Path) -> None:
    mounts, blocks = tmp_path / "mountinfo", tmp_path / "block"
    lines = ("1 0 8:1 / / rw - ext4 /dev/sda1 rw", "2 1 253:1 / /data\\040x rw - ext4 /dev/mapper/v rw")
    mounts.write_text("\n".join(lines) + "\n")
    uuid = blocks / "253:1" / "slaves" / "dm-0" / "dm" / "uuid"  # a logical volume on top of LUKS
    uuid.parent.mkdir(parents=True)
    uuid.write_text("CRYPT-LUKS2-0123-x\n")
    (blocks / "8:1").mkdir()
    assert rights.encrypted(Path("/data x/home"), mounts, blocks)
    assert not rights.encrypted(Path("/data"), mounts, blocks)
    uuid.write_text("LVM-0123\n")
    assert not rights.encrypted(Path("/data x/home"), mounts, blocks)
    assert not rights.encrypted(Path("/data x/home"), tmp_path / "none", blocks)


def test_the_doctor_tells_of_encryption(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "encrypted", lambda path: True)
    assert doctor.judge_encryption(home).verdict == "pass"
    monkeypatch.setattr(rights, "encrypted", lambda path: False)
    assert doctor.judge_encryption(home).verdict == "warn" and "0016" in doctor.judge_encryption(home).mend
