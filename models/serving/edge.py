"""The edge: the one place in serving where the shop's own id of a visitor becomes a pseudonym.

What lies behind it (features, receipts, caches, the models) knows the pseudonym only. Who was erased has none any more:
they are answered as nobody, and nothing of what they do is kept.
"""

from jobs.pseudonyms import load_key, pseudonym, serving_key
from jobs.tombstones import Tombstones, load
from jobs.warehouse import warehouse
from models.serving.faults import Fault

LONGEST_ID = 200  # characters
NOBODY = "v0_nobody"
"""Stands for whoever has no pseudonym: no key makes it, and nothing is known of it."""


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
    """Replaces ids, by the key of the epoch that is published: after a rotation the one before goes on until the online
    store bears the new pseudonyms, and from that moment on, without a restart, the new one. An erasure, too, counts
    from the moment in which it begins."""

    def __init__(self, shop: str) -> None:
        self._shop, self._house = shop, warehouse(shop, must_exist=False)
        self._gone: tuple[int, Tombstones] = (0, Tombstones())
        load_key(shop)  # made now, if there is none yet

    def __call__(self, visitor_id: str) -> str:
        """The pseudonym of a visitor; of a person with several accounts, that of the account they are kept under.
        NOBODY, if they were erased."""
        kept = self._house.kept("visitors", well_formed(visitor_id))
        return NOBODY if self.erased(visitor_id) else pseudonym(serving_key(self._shop), kept)

    def erased(self, visitor_id: str) -> bool:
        """Whether this visitor was erased, or the account under which they are kept; a `Problem` if that cannot be
        told. The ledger is read again when it has grown."""
        if (until := self._house.erased_until()) != self._gone[0]:
            self._gone = (until, load(self._house))
        known = self._gone[1]
        return bool(known.numbers and known.among([visitor_id, self._house.kept("visitors", visitor_id.strip())]))
