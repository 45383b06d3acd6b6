"""A person is asked, in Airflow's Required Actions, and the answer becomes a command line in the same task.

Nothing is handed to the next task: what it needs lies signed in the shop's home, or does not. So a task whose state
was set by hand has written nothing, and a value put in its place by hand is read by nobody.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import BaseSensorOperator, Param
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from command_line import DONE, REFUSED, WRONG_WORDS

HUMAN, AUTO, LATER = "human", "auto", "later"
BY_HAND = os.environ.get("ENDCAP_REVIEW") == HUMAN
REVIEW = Param(
    HUMAN if BY_HAND else AUTO,
    type="string",
    enum=[HUMAN] if BY_HAND else [AUTO, HUMAN, LATER],  # where production says human, no form says anything else
    title="Review",
    description="human: whatever the gate does not refuse waits in Required Actions until a reviewer answers. auto: "
    "only what the gate asks about. later: nothing waits; what needs a person stays a candidate.",
)
PLACE = Param(
    "airflow",
    type="string",
    enum=["airflow", "mlflow"],
    title="Where the reviewer answers",
    description="airflow: in Required Actions. mlflow: by the tags 'review' and 'review.reason' of the version, where "
    "MLflow lets reviewers alone edit it; of several it does not say which one it was.",
)
HOURS = Param(
    24,
    type="number",
    exclusiveMinimum=0,
    maximum=24 * 14,
    title="Hours for the review",
    description="How long a reviewer may take. Nobody answered by then: it is rejected.",
)


def reviewers() -> list[str]:
    """The accounts that may answer: ENDCAP_REVIEWERS, commas between them, else `reviewer`."""
    named = [name.strip() for name in os.environ.get("ENDCAP_REVIEWERS", "").split(",")]
    return [name for name in named if name] or ["reviewer"]


class Asks:
    """A task that runs `python -m models review BUNDLE`, and reads what it prints."""

    bundle: str
    options_of: Mapping[str, str]
    log: Any

    def command(self, *words: str) -> list[str]:
        """The argument list."""
        given = [f"{name}={value}" for name, value in self.options_of.items()]
        return [sys.executable, "-m", "models", "review", self.bundle, *given, *words]

    def ask(self, *words: str) -> str:
        """Run the command to its end; what it printed. Its progress goes to the log of the task."""
        ended = subprocess.run(self.command(*words), capture_output=True, text=True, check=False)
        for line in ended.stderr.splitlines():
            self.log.info("%s", line)
        last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        if ended.returncode in (WRONG_WORDS, REFUSED):
            raise AirflowFailException(last)
        if ended.returncode != DONE:
            raise AirflowException(f"exit code {ended.returncode}: {last}")
        return ended.stdout


class Review(Asks, ApprovalOperator):
    """`python -m models review BUNDLE`: says whether a person is to be asked, and takes the answer down.

    Skipped if it is not about this run (`when`), or if nobody is to be asked: the gate refuses, or decides alone, or
    the candidate was approved before. A time-out is a rejection. An answer to an older report than the last is refused.
    """

    template_fields: Sequence[str] = (*ApprovalOperator.template_fields, "options_of", "review", "when", "hours")
    ui_color = "#fff3d6"

    def __init__(
        self, *, bundle: str, options: Mapping[str, str], review: str, hours: str, when: str = "yes", **settings: Any
    ) -> None:
        super().__init__(
            subject=f"{bundle}: may the candidate serve?",
            defaults=self.REJECT,
            assigned_users=[{"id": name, "name": name} for name in reviewers()],
            response_timeout=timedelta(hours=24),  # of each run its own, once it is rendered
            **{**settings, "params": self.form("", "")},  # not those of the DAG
        )
        self.bundle, self.options_of = bundle, dict(options)  # `options` are the answers
        self.review, self.when, self.hours = review, when, hours

    @staticmethod
    def form(report: str, told: str) -> dict[str, Param]:
        """What is filled in beside the answer. `report` goes back as it came: the answer is about that very one."""
        fixed = {"enum": [report]} if report else {}
        return {
            "reason": Param("", type=["null", "string"], maxLength=1000, source="task", title="Reason",
                            description="Why, in a sentence. It is kept with the model: let it name no visitor."),
            "report": Param(report, type="string", source="task", title="Report", description=told, **fixed),
        }  # fmt: skip

    def execute(self, context: Any) -> None:
        if self.when != "yes":
            raise AirflowSkipException(f"not asked for in this run: review of {self.bundle}")
        told = json.loads(self.ask("--json", f"--review={self.review}"))
        if not told["asks"]:
            raise AirflowSkipException(told["why"])
        base = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
        page = f"{base}/endcap/{self.options_of['--shop']}/{told['page']}"
        self.subject = told["subject"]
        self.body = f"**[Read the report]({page})**, then answer below.\n\n{told['body']}"
        self.params.update(self.form(told["report"], told["why"]))
        self.response_timeout = timedelta(hours=float(self.hours))
        super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> None:
        answer = HITLOperator.execute_complete(self, context, event)  # not the parent's, which skips what comes next
        given, responder = answer["params_input"], event.get("responded_by_user") or {}
        word = "--approve" if answer["chosen_options"] == [self.APPROVE] else "--reject"
        reason = given.get("reason") or ("" if responder else f"nobody answered in {self.hours} hours")
        words = [word, "--source=airflow", f"--report={given.get('report') or ''}", f"--reason={reason}"]
        if responder:
            words.append(f"--responder={responder['id']}")
        for line in self.ask(*words).splitlines():
            self.log.info("%s", line)


class ReviewInMlflow(Asks, BaseSensorOperator):
    """Looks once a minute for the reviewer's tag on the version in MLflow, until there is one or it is too late.

    Between two looks the task holds no slot. The command takes the answer down, and says what the tag is worth.
    """

    template_fields: Sequence[str] = ("options_of", "review", "when", "hours")
    ui_color = "#fff3d6"

    def __init__(
        self, *, bundle: str, options: Mapping[str, str], review: str, hours: str, when: str = "yes", **settings: Any
    ) -> None:
        longest = timedelta(hours=float(HOURS.schema["maximum"]) + 1)  # the command knows each run's own
        super().__init__(mode="reschedule", poke_interval=60, timeout=longest, **settings)
        self.bundle, self.options_of = bundle, dict(options)
        self.review, self.when, self.hours = review, when, hours

    def poke(self, context: Any) -> bool:
        if self.when != "yes":
            raise AirflowSkipException(f"not asked for in this run: review of {self.bundle} in MLflow")
        told = json.loads(self.ask(f"--watch={self.hours}", f"--review={self.review}"))
        self.log.info("%s", told["why"])
        return bool(told["decided"])
