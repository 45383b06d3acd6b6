"""What the API says when it cannot answer: {what, where, do} and an honest status; no traceback, no secret."""

from jobs.console import Problem


class Fault(Problem):
    """A `Problem` with the HTTP status it is told with. Its words never repeat what the caller sent."""

    def __init__(self, status: int, what: str, *, where: str = "", do: str = "") -> None:
        super().__init__(what, where=where, do=do)
        self.status = status


def told(problem: Problem) -> dict[str, str]:
    """The body of an error."""
    return {"what": problem.what, "where": problem.where, "do": problem.do}
