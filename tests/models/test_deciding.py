"""Every way to get past the gate, and every moment to be killed at: the champion stays whole, the reason is said, and
the same command again heals. Real records, signatures, MLflow and commands; only the models are a file of words."""

import json
import math
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs import rights
from jobs.console import run_command
from models import audit, evidence, promotions, registry, reviewing, tracking
from models.__main__ import parser
from models.bundle import Bundle, building, open_bundle, seal
from models.evaluation import gates
from models.evidence import keep, report_file
from tests.reports import passing

SHOP, NAME = "gated", "recommend"
DAY = "2024-07-01"
pytestmark = [pytest.mark.filterwarnings("ignore")]  # MLflow's and its database's own


def made(version: int, words: str = "") -> Bundle:
    """A bundle of words, registered: the next version."""
    with building(SHOP, NAME) as folder:
        (folder / "words.json").write_text(json.dumps(words or f"version {version}"))
        seal(folder, shop=SHOP, name=NAME, kind="words", settings={"number": version})
        assert registry.register(SHOP, NAME, folder) == version
    return open_bundle(folder.parent / str(version))


def good(**changes: Any) -> dict[str, Any]:
    """A report that the gate accepts, but for `changes`."""
    return {**passing(), "shop": SHOP, "bundle": NAME, "newest": DAY, "data": [], "code": "test", **changes}


def judged(**changes: Any) -> str:
    """What `evaluate` leaves: the report of candidate against champion, and its line in the book."""
    candidate, champion = registry.candidate(SHOP, NAME), registry.champion(SHOP, NAME)
    return keep(SHOP, NAME, {**evidence.finished(SHOP, NAME, good(), candidate, champion), **changes})


def command(*words: str) -> int:
    return run_command(parser(), [*words, "--shop", SHOP])


def serving() -> int:
    found = promotions.find_champion(SHOP, NAME)
    assert found is not None and found.passed_over == ()
    return found.bundle.version


def alias(name: str) -> int | None:
    return {alias: row["version"] for row in registry.versions(SHOP, NAME) for alias in row["aliases"]}.get(name)


def actions() -> list[tuple[str, int]]:
    return [(record.action, record.version) for record in promotions.records(SHOP, NAME)[0]]


def told() -> list[str]:
    """What the book tells, in order."""
    return [str(line["what"]) for line in audit.read(SHOP).lines]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a champion (version 1, by record 1) and a candidate (version 2), made once."""
    folder = tmp_path_factory.mktemp("deciding") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENDCAP_HOME", str(folder))
        (folder / SHOP / "warehouse" / "safe" / "interactions" / "published").mkdir(parents=True)
        put_day(folder / SHOP, DAY)
        registry.promote(made(1), verdict={"accepted": True, "why": "the baseline serves first"}, action="baseline")
        from models.promoting import settle

        settle(SHOP, NAME)
        made(2)
        yield folder


@pytest.fixture
def shop(template: Path, home: Path) -> Iterator[Path]:
    """A copy of it that a test may spoil; what is written meanwhile has the rights that a command gives it."""
    shutil.copytree(template, home)
    before = os.umask(rights.umask())
    yield home / SHOP
    os.umask(before)


# --- the way, and its book ---


def test_a_promotion_signs_what_it_rests_on_and_the_book_tells_all(shop: Path, capsys: Any) -> None:
    sha256 = judged()
    assert command("promote", NAME) == 0
    assert "promoted: version 2" in capsys.readouterr().out
    record = promotions.records(SHOP, NAME)[0][-1]
    verdict = audit.read(SHOP).lines[-2]
    assert (record.action, record.report, record.approval) == ("promote", sha256, None)
    assert record.policy["report_days"] == 7 and record.verdict["checks"]
    assert told() == ["baseline", "evaluation", "verdict", "promotion"] and verdict["answer"] == "accept"
    assert record.audit in audit.books.chain(audit.log_file(SHOP)).hashes
    assert (serving(), alias("champion"), alias("candidate")) == (2, 2, None)
    assert command("rollback", NAME) == 0
    assert (serving(), alias("champion"), told()[-1]) == (1, 1, "rollback")
    assert command("audit", "--verify") == 0
    assert "every line is signed" in capsys.readouterr().out


def test_a_version_is_shown_and_two_are_compared(shop: Path, capsys: Any) -> None:
    judged()
    command("promote", NAME)
    capsys.readouterr()
    assert command("show", NAME) == 0
    out = capsys.readouterr().out
    for words in ("yes, by record 2", "0.4200", "record 2", "as they were sealed", "ndcg@10 less"):
        assert words in out
    assert command("show", NAME, "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["version"]["serves"] == "no"
    assert command("compare", NAME, "1", "2") == 0
    out = capsys.readouterr().out
    assert "version 2 less version 1: ndcg@10 0.0200 (0.0100 to 0.0300)" in out and "differs" in out
    assert command("show", NAME, "7") == 2 and "has no version 7" in capsys.readouterr().err
    assert command("list") == 0 and "promote" in capsys.readouterr().out


def test_the_tries_against_one_champion_are_counted_once_each(shop: Path) -> None:
    champion = registry.champion(SHOP, NAME)
    two = registry.candidate(SHOP, NAME)
    assert evidence.tries(SHOP, NAME, two, champion) == 1
    judged()
    judged()
    three = made(3)
    assert (evidence.tries(SHOP, NAME, two, champion), evidence.tries(SHOP, NAME, three, champion)) == (1, 2)
    judged()
    assert evidence.tries(SHOP, NAME, made(4), champion) == 3
    assert evidence.tries(SHOP, NAME, champion, two) == 1


def test_a_candidate_that_is_judged_again_on_newer_days_is_tried_again(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two, champion = registry.candidate(SHOP, NAME), registry.champion(SHOP, NAME)
    judged()
    assert evidence.tries(SHOP, NAME, two, champion) == 1
    monkeypatch.setattr(evidence, "newest", lambda shop: "2024-07-08")
    assert evidence.tries(SHOP, NAME, two, champion) == 2
    judged()
    assert evidence.tries(SHOP, NAME, two, champion) == 2
    assert evidence.tries(SHOP, NAME, made(3), champion) == 3


# --- evidence that is none ---


def altered(shop: Path) -> None:
    path = report_file(SHOP, NAME)
    text = path.read_bytes()
    path.write_bytes(text.replace(b'"low": 0.01', b'"low": 0.02'))
    assert len(path.read_bytes()) == len(text) and path.read_bytes() != text


def older(shop: Path) -> None:
    text = report_file(SHOP, NAME).read_bytes()
    judged(paired={**good()["paired"], "low": -0.01})
    report_file(SHOP, NAME).write_bytes(text)


def forged(shop: Path) -> None:
    """The report is rewritten, and its hash written into the book by somebody without the key."""
    older_line = dict(audit.read(SHOP).lines[-1])
    altered(shop)
    import hashlib

    sha256 = hashlib.sha256(report_file(SHOP, NAME).read_bytes()).hexdigest()
    audit.books.add(audit.log_file(SHOP), {**older_line, "report": sha256})


def stale(shop: Path) -> None:
    judged(written_at=(datetime.now(UTC) - timedelta(days=8)).isoformat())


def tomorrow(shop: Path) -> None:
    judged(written_at=(datetime.now(UTC) + timedelta(days=1)).isoformat())


def undated(shop: Path) -> None:
    judged(written_at=math.nan)


def moved_on(shop: Path) -> None:
    judged(seen="2024-06-20")


def put_day(shop: Path, day: str) -> None:
    published = shop / "warehouse" / "safe" / "interactions" / "published"
    (published / f"{day}.json").write_text("{}")


def swapped(shop: Path) -> None:
    (shop / "bundles" / NAME / "2" / "words.json").write_text('"other"')


def sealed_anew(shop: Path) -> None:
    swapped(shop)
    seal(shop / "bundles" / NAME / "2", shop=SHOP, name=NAME, kind="words", settings={"number": 2})


def moved_by_hand(shop: Path) -> None:
    tracking.client().set_registered_model_alias(f"{SHOP}.{NAME}", "candidate", str(made(3).version))


def lost(shop: Path) -> None:
    audit.log_file(SHOP).unlink()


@pytest.mark.parametrize(("spoil", "says"), [
    (altered, "altered since it was made"),
    (older, "the report is an old one"),
    (forged, "altered since it was made"),
    (stale, "stale: 8 days old, at most 7"),
    (tomorrow, "in the future"),
    (undated, "does not say when"),
    (moved_on, "stale: the shop has 11 newer days"),
    (swapped, "'words.json' is not as it was sealed"),
    (sealed_anew, "judged other files as candidate 2"),
    (moved_by_hand, "judged candidate 2, but it is 3 now"),
    (lost, "knows of no report"),
], ids=lambda value: value.__name__ if callable(value) else "")  # fmt: skip
def test_evidence_that_is_none_promotes_nothing(
    shop: Path, capsys: Any, spoil: Callable[[Path], None], says: str
) -> None:
    judged()
    spoil(shop)
    capsys.readouterr()
    assert command("promote", NAME) == 1
    assert says in capsys.readouterr().err
    assert (serving(), actions()) == (1, [("baseline", 1)])


@pytest.mark.parametrize("change", [
    {"paired": None},
    {"paired": {**good()["paired"], "low": math.nan}},
    {"latency_ms": {"p99": math.nan}},
    {"learnt_from_visitors": None},
    {"test": {"n": 1}, "paired": {**good()["paired"], "n": 1}},
], ids=["no-pairs", "nan", "nan-latency", "silent", "one-query"])  # fmt: skip
def test_a_report_with_missing_figures_is_refused_and_the_refusal_is_kept(
    shop: Path, capsys: Any, change: Mapping[str, Any]
) -> None:
    judged(**change)
    assert command("promote", NAME) == 0
    assert "refused: version 2" in capsys.readouterr().out
    assert (serving(), actions()[-1], told()[-2:]) == (1, ("refuse", 2), ["verdict", "refusal"])
    # The same report is not tried twice: not with other eyes, and not by another policy.
    assert command("promote", NAME) == 0
    assert "by record 2" in capsys.readouterr().err and len(actions()) == 2


def test_a_refused_version_does_not_pass_by_a_report_of_its_own(shop: Path, capsys: Any) -> None:
    """Its good report of old is put back, with the alias, after a later one refused it."""
    judged()
    text = report_file(SHOP, NAME).read_bytes()
    judged(paired={**good()["paired"], "low": -0.01})
    command("promote", NAME)
    report_file(SHOP, NAME).write_bytes(text)
    capsys.readouterr()
    assert command("promote", NAME) == 1 and "an old one" in capsys.readouterr().err
    assert serving() == 1


def test_a_version_that_was_rolled_back_comes_again_by_a_persons_word_alone(shop: Path, capsys: Any) -> None:
    judged()
    command("promote", NAME)
    command("rollback", NAME)
    tracking.client().set_registered_model_alias(f"{SHOP}.{NAME}", "candidate", "2")
    sha256 = judged()
    capsys.readouterr()
    assert command("promote", NAME) == 3
    err = capsys.readouterr().err
    assert "waits for a person" in err and "it served before, by record 2" in err
    assert serving() == 1
    two = registry.candidate(SHOP, NAME)
    assert two is not None
    reviewing.record(SHOP, NAME, 2, two.sha256, sha256, "approve", responder="ada", reason="mended")
    assert command("promote", NAME) == 0
    record = promotions.records(SHOP, NAME)[0][-1]
    assert serving() == 2 and record.approval is not None and record.approval["responder"] == "ada"


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shop in which a person approves each promotion."""
    monkeypatch.setattr("models.promoting.load", lambda shop: gates.Policy(review="human"))


@pytest.mark.usefixtures("asking")
def test_where_a_person_is_asked_only_their_word_about_this_report_promotes(shop: Path, capsys: Any) -> None:
    old = judged()
    two = registry.candidate(SHOP, NAME)
    assert two is not None
    assert command("promote", NAME) == 3 and "waits for a person" in capsys.readouterr().err
    reviewing.record(SHOP, NAME, 2, two.sha256, old, "approve", responder="ada", reason="fine")
    sha256 = judged(code="another")  # another report: what was approved was the old one
    assert command("promote", NAME) == 3
    reviewing.record(SHOP, NAME, 2, two.sha256, sha256, "reject", responder="ada", reason="odd answers")
    path = max((shop / "reviews").rglob("*.json"))
    path.write_text(path.read_text().replace('"reject"', '"approve"'))
    capsys.readouterr()
    assert command("promote", NAME) == 1 and "sign" in capsys.readouterr().err
    path.unlink()
    reviewing.record(SHOP, NAME, 2, two.sha256, sha256, "reject", responder="ada", reason="odd answers")
    assert command("promote", NAME) == 0
    assert "rejected by ada (command): odd answers" in capsys.readouterr().out
    assert (serving(), actions()[-1]) == (1, ("refuse", 2))
    shown = registry.tags(SHOP, NAME, 2)  # by the promotion: MLflow was not told of the word when it was given
    assert (shown["review"], shown["review.by"], shown["verdict"]) == ("rejected", "ada", "refused")


def test_a_book_that_was_cut_asks_a_person(shop: Path, capsys: Any) -> None:
    judged(paired={**good()["paired"], "low": -0.01})
    command("promote", NAME)
    lines = audit.log_file(SHOP).read_bytes().splitlines(keepends=True)
    audit.log_file(SHOP).write_bytes(b"".join(lines[:1]))
    judged()
    capsys.readouterr()
    assert command("promote", NAME) == 3
    assert "record 2 of recommend rests on a line that is not here" in capsys.readouterr().err
    assert command("audit", "--verify") == 3 and serving() == 1


def test_lines_cut_off_the_end_show_by_themselves_and_go_on_to_show(shop: Path, capsys: Any) -> None:
    judged()
    whole = audit.log_file(SHOP).read_bytes().splitlines(keepends=True)
    assert audit.read(SHOP).faults == () and audit.head_file(SHOP).stat().st_mode & 0o077 == 0
    audit.log_file(SHOP).write_bytes(b"".join(whole[:-1]))  # no record holds the hash of that line
    assert command("audit", "--verify") == 3
    assert "the end was cut off" in capsys.readouterr().err
    judged(code="another")  # this line is not the one that is gone
    assert command("promote", NAME) == 3
    err = capsys.readouterr().err
    assert "waits for a person" in err and "the models' book is not whole" in err
    audit.log_file(SHOP).write_bytes(b"".join(whole))
    assert command("audit", "--verify") == 0


# --- MLflow is not who decides ---


def test_an_alias_moved_by_hand_serves_nobody_and_is_set_right(shop: Path, capsys: Any) -> None:
    tracking.client().set_registered_model_alias(f"{SHOP}.{NAME}", "champion", "2")
    assert serving() == 1
    assert command("list") == 0
    err = capsys.readouterr().err
    assert "recommend 2: it does not serve, though the registry's alias says so" in err
    judged(paired={**good()["paired"], "low": -0.01})
    command("promote", NAME)
    assert (serving(), alias("champion")) == (1, 1)


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """MLflow's server goes away: nothing listens where it is looked for."""

    def go() -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")

    return go


def test_without_mlflow_nothing_is_promoted_and_a_rollback_is(
    shop: Path, capsys: Any, down: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged()
    command("promote", NAME)
    made(3)
    judged()
    down()
    capsys.readouterr()
    assert command("promote", NAME) == 1
    assert "the model registry does not answer" in capsys.readouterr().err and serving() == 2
    assert command("rollback", NAME) == 0
    assert "What is signed stands" in capsys.readouterr().err and serving() == 1
    assert command("rollback", NAME) == 3  # no champion before: the first rollback was whole, not begun again
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert alias("champion") == 2
    assert command("promote", NAME) == 1 and "judged champion 2" in capsys.readouterr().err
    assert (serving(), alias("champion")) == (1, 1)


def test_mlflow_that_goes_down_after_the_record_is_signed_follows_later(
    shop: Path, capsys: Any, down: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged()
    signs = promotions.append

    def signed(*words: Any, **more: Any) -> promotions.Record:
        record = signs(*words, **more)
        down()
        return record

    monkeypatch.setattr(promotions, "append", signed)
    assert command("promote", NAME) == 0
    told = capsys.readouterr()
    assert "promoted: version 2" in told.out and "does not answer" in told.err and serving() == 2
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert alias("champion") == 1
    assert command("promote", NAME) == 0
    assert "nothing to decide" in capsys.readouterr().out
    assert (alias("champion"), alias("candidate"), len(actions())) == (2, None, 2)


# --- two at once, and kills ---


def test_two_promotions_at_once_make_one(shop: Path) -> None:
    judged()
    codes: list[int] = []
    both = [threading.Thread(target=lambda: codes.append(command("promote", NAME))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert codes == [0, 0]
    assert actions() == [("baseline", 1), ("promote", 2)] and told().count("promotion") == 1


STEPS = (
    (audit, "note"), (promotions, "append"), (registry, "follow"), (registry, "tag"), (audit, "decided"),
    (audit.books, "write_atomically"),
)  # fmt: skip
"""What a decision consists of, one after another; a process ends before each."""


def killed(at: int, *words: str) -> bool:
    """Run a command in a process of its own, which is killed at the `at`-th moment; whether it came to it. The last
    moment is when all is done and nobody was told."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    seen = 0

    def moment() -> None:
        nonlocal seen
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **more: Any) -> Any:
            moment()
            return step(*given, **more)

        return run

    for module, name in STEPS:
        setattr(module, name, watched(getattr(module, name)))
    code = command(*words)
    moment()
    os._exit(code)


@pytest.mark.parametrize("words", [("promote", NAME), ("rollback", NAME, "--from=3")], ids=["promote", "rollback"])
def test_killed_at_any_moment_the_champion_is_whole_and_the_same_command_heals(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, words: tuple[str, ...]
) -> None:
    base = tmp_path / "base"
    shutil.copytree(template, base)
    monkeypatch.setenv("ENDCAP_HOME", str(base))
    judged()
    goal = 2
    if words[0] == "rollback":
        command("promote", NAME)
        made(3)
        judged()
        command("promote", NAME)
        assert serving() == 3
    before, moments = serving(), 0
    for at in range(1, 100):
        folder = tmp_path / f"at-{at}"
        shutil.copytree(base, folder)
        monkeypatch.setenv("ENDCAP_HOME", str(folder))
        hit = killed(at, *words)
        assert serving() in (before, goal), at
        if hit:
            assert command(*words) == 0, at
        assert (serving(), alias("champion"), alias("candidate")) == (goal, goal, None), at
        book = audit.read(SHOP)
        assert book.faults == () and audit.untold(SHOP, NAME) == [], at
        assert [line["what"] for line in book.lines].count("promotion") == len(
            [record for record in promotions.records(SHOP, NAME)[0] if record.action == "promote"]
        ), at
        if not hit:
            break
        moments += 1
        shutil.rmtree(folder)
    assert moments >= {"promote": 8, "rollback": 6}[words[0]]


def test_a_rollback_that_says_what_it_leaves_is_made_once(shop: Path, capsys: Any) -> None:
    judged()
    command("promote", NAME)
    made(3)
    judged()
    command("promote", NAME)
    assert command("rollback", NAME, "--from=2") == 3 and serving() == 3
    assert "version 2 of gated.recommend does not serve, but version 3" in capsys.readouterr().err
    assert [command("rollback", NAME, "--from=3") for _ in range(2)] == [0, 0]
    assert (serving(), told().count("rollback")) == (2, 1)
    assert "is signed already, as record 4" in capsys.readouterr().err
    assert command("rollback", NAME, "--from=2") == 0 and serving() == 1
    assert command("rollback", NAME, "--from=3") == 3, "what was left long ago is no reason to say that it is done"
