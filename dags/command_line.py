"""What the DAGs are made of: a task is a command line, and the first task looks at the Params.

Commands are argument lists, never shell strings: a Param can be a strange word, but it stays one word.
"""

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import BaseOperator, BaseOperatorLink, Param
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from jobs.sources import names

SHOP = Param(
    os.environ.get("ENDCAP_SHOP", "grocer"),
    type="string",
    enum=names(),
    title="Shop",
    description="Which shop. Scheduled runs take the default; it is the shop that `make up` was started for.",
)
FOLDER = Param(
    os.environ.get("ENDCAP_FROM"),
    type=["null", "string"],
    title="Source folder",
    description="Absolute path, or s3:// address, of a folder with the shop's files. Empty: the shop's own archive, "
    "which has no new days: scheduled runs then have nothing to fetch, and skip.",
)
EXAMPLES = Param(
    ["recommender", "encoder"],
    type="array",
    title="Training sets",
    items={"type": "string", "enum": ["recommender", "encoder"]},
    examples=["recommender", "encoder"],
    description="Which training sets to write.",
)
DEFAULTS = {"retries": 1, "retry_delay": timedelta(seconds=30), "execution_timeout": timedelta(hours=3)}
DONE, WRONG_WORDS, REFUSED = 0, 2, 3


class CommandLine(BaseOperator):
    """Run `python -m WORDS --option=value --flag` in a process group of its own.

    An option that renders to nothing is left out, a flag that renders to anything but "yes", too. A `when` that renders
    to anything but "yes" skips the task.
    Exit code 2 (wrong words) and 3 (a check refused) fail at once: trying again would say the same. Any other
    failure is tried again. When the task is killed or runs out of time, the whole process group is signalled.
    """

    template_fields: Sequence[str] = ("words", "options", "flags", "when")
    ui_color = "#eaf3ff"

    def __init__(
        self,
        *,
        words: Sequence[str],
        options: Mapping[str, str] | None = None,
        flags: Mapping[str, str] | None = None,
        when: str = "yes",
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.words = list(words)
        self.options = dict(options or {})
        self.flags = dict(flags or {})
        self.when = when
        self.hook: SubprocessHook | None = None

    def command(self) -> list[str]:
        """The argument list, as it will be run."""
        given = [f"{name}={value}" for name, value in self.options.items() if value not in ("", "None")]
        raised = [name for name, value in self.flags.items() if value == "yes"]
        return [sys.executable, "-m", *self.words, *given, *raised]

    def execute(self, context: Any) -> None:
        self.perform()

    def perform(self) -> None:
        """Run the command to its end."""
        if self.when != "yes":
            raise AirflowSkipException(f"not asked for in this run: {' '.join(self.words)}")
        self.hook = SubprocessHook()
        ended = self.hook.run_command(self.command())
        if ended.exit_code in (WRONG_WORDS, REFUSED):
            raise AirflowFailException(ended.output)
        if ended.exit_code != DONE:
            raise AirflowException(f"exit code {ended.exit_code}: {ended.output}")

    def on_kill(self) -> None:
        if self.hook is not None:
            self.hook.send_sigterm()


class Trigger(TriggerDagRunOperator):
    """Start another DAG, with Params as JSON; skipped if `when` renders to anything but "yes". A DAG that is paused
    fails the task: its run would wait unseen."""

    template_fields: Sequence[str] = (*TriggerDagRunOperator.template_fields, "when")

    def __init__(self, *, when: str = "yes", **settings: Any) -> None:
        super().__init__(logical_date=None, fail_when_dag_is_paused=True, **settings)
        self.when = when

    def execute(self, context: Any) -> None:
        if self.when != "yes":
            raise AirflowSkipException(f"not asked for in this run: {self.trigger_dag_id}")
        super().execute(context)


class PageLink(BaseOperatorLink):
    """A link in the task's page to a page of the shop of its run, served by plugins/endcap_pages.py."""

    page = "index.html"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        shop = dict(getattr(operator, "options", {})).get("--shop", "")  # rendered by now
        base = conf.get("api", "base_url", fallback="") or ""
        return f"{base.rstrip('/')}/endcap/{quote(shop, safe='')}/{self.page}"


class DataDocs(PageLink):
    """What was expected of each table and day, and which did not fulfil it."""

    name = "Data Docs"


class Dictionary(PageLink):
    """Every table and column in words."""

    name = "Data dictionary"
    page = "dictionary.html"


class PrivacyPage(PageLink):
    """What was removed of whoever visits, what attacks found, and what was spent, released and erased."""

    name = "Privacy"
    page = "privacy.html"


class FeaturesPage(PageLink):
    """Every feature: what it means, how fresh it is, how far it drifted, who uses it."""

    name = "Features"
    page = "features.html"


class Watch(CommandLine):
    """The look at freshness and drift of the features, behind which their page is made anew, with a link to it."""

    operator_extra_links = (FeaturesPage(),)


class Privacy(CommandLine):
    """A step behind which the privacy page is made anew, with a link to it."""

    operator_extra_links = (PrivacyPage(),)


class Validate(CommandLine):
    """The data gate, with a link to what it found."""

    operator_extra_links = (DataDocs(), Dictionary())


class CheckParams(BaseOperator):
    """Say which Params this run got, and stop if a name is not known or if they do not fit each other.

    Airflow checks each value against its Param, but takes unknown names in silence; and "trigger again with
    this config" has been seen to send old ones.
    """

    ui_color = "#f3f3f3"

    def execute(self, context: Any) -> None:
        params = dict(context["params"])
        for name in sorted(set(params) & set(self.dag.params)):  # nobody knows what another one holds
            self.log.info("%s = %r", name, params[name])
        self.log.info("partition = %r", getattr(context["dag_run"], "partition_key", None))
        run = context["dag_run"]
        by_night = getattr(run, "partition_key", None) and getattr(run, "run_type", "scheduled") == "scheduled"
        if by_night and "folder" in params and not params["folder"]:
            raise AirflowSkipException(
                "nothing to fetch: this shop's source is an archive. Set the Param 'folder', or "
                "ENDCAP_FROM, to where its deliveries arrive; or trigger by hand"
            )
        try:
            check(params, declared=list(self.dag.params), given=context["dag_run"].conf or {})
        except ValueError as fault:
            raise AirflowFailException(f"error: {fault}") from None


def check(params: Mapping[str, Any], *, declared: Sequence[str], given: Mapping[str, Any]) -> None:
    """`ValueError` that says what to mend, if a name is unknown or the Params contradict each other."""
    for name in given:
        if name not in declared:
            near = difflib.get_close_matches(name, declared, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"choose from: {', '.join(declared)}"
            raise ValueError(f"unknown Param '{name}'. To do: {hint}")
    first, last = params.get("first"), params.get("last")
    if first and last and date.fromisoformat(first) > date.fromisoformat(last):
        raise ValueError(f"first day {first} is after last day {last}. To do: exchange them")
    folder = params.get("folder")
    if folder and "://" not in folder and not (Path(folder).is_absolute() and Path(folder).is_dir()):
        raise ValueError(f"no folder '{folder}'. To do: give an absolute path of a folder on Airflow's machine")
