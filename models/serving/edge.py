"""The edge: the one place in serving where the shop's own id of a visitor becomes a pseudonym.

What lies behind it (features, receipts, caches, the models) knows the pseudonym only.
"""

from jobs.pseudonyms import load_key, pseudonym
from jobs.warehouse import warehouse
from models.serving.faults import Fault

LONGEST_ID = 200  # characters


def well_formed(visitor_id: str) -> str:
    """The id, if it can be one: 1 to 200 printable characters, no blanks at the ends; else a `Fault` without it."""
    if (
        not visitor_id
        or len(visitor_id) > LONGEST_ID
        or not visitor_id.isprintable()
        or visitor_id != visitor_id.strip()
    ):
        raise Fault(
            400,
            "the visitor's id is empty, too long or not printable",
            where="visitor",
            do=f"send the shop's own id of the visitor, at most {LONGEST_ID} characters",
        )
    return visitor_id


class Edge:
    """Holds the shop's key, and replaces ids."""

    def __init__(self, shop: str) -> None:
        self._key, self._house = load_key(shop), warehouse(shop, must_exist=False)

    def __call__(self, visitor_id: str) -> str:
        """The pseudonym of a visitor; of a person with several accounts, that of the account they are kept under."""
        return pseudonym(self._key, self._house.kept("visitors", well_formed(visitor_id)))
