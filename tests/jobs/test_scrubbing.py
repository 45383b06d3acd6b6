"""Scrubbing: what is personal goes, what only looks like it stays; by hand, English and Chinese."""

from typing import Any

import pytest

GONE = [
    ("mail ann.lee+x@mail.example.co.uk now", "mail <EMAIL> now"),
    ("请发到wang@example.cn谢谢", "请发到<EMAIL>谢谢"),
    ("see https://a.example/reset?token=abc&u=1 ok", "see <URL> ok"),
    ("打开 www.example.cn/a?t=1，谢谢", "打开 <URL>，谢谢"),
    ("card 4111 1111 1111 1111.", "card <CARD>."),
    ("card 5500-0000-0000-0004", "card <CARD>"),
    ("卡号378282246310005请查", "卡号<CARD>请查"),
    ("IBAN GB82 WEST 1234 5698 7654 32 PLEASE", "IBAN <IBAN> PLEASE"),
    ("DE89370400440532013000", "<IBAN>"),
    ("身份证11010519491231002X。", "身份证<RESIDENT_ID>。"),
    ("ssn 123-45-6789", "ssn <SSN>"),
    ("from 192.168.10.254.", "from <IP>."),
    ("from 2001:0db8:85a3:0000:0000:8a2e:0370:7334", "from <IP>"),
    ("call +44 20 7946 0958 today", "call <PHONE> today"),
    ("call (415) 555-0132", "call <PHONE>"),
    ("call 415-555-0132", "call <PHONE>"),
    ("电话13812345678请回", "电话<PHONE>请回"),
    ("电话 138-1234-5678", "电话 <PHONE>"),
    ("86 13912345678", "<PHONE>"),
    ("座机010-62345678", "座机<PHONE>"),
]
STAYS = [
    "order 12345678 came on 2020-01-31",
    "card 4111 1111 1111 1112 fails Luhn",
    "GB83 WEST 1234 5698 7654 32",
    "110105194912310021",
    "000-12-3456 and 900-12-3456 are no SSN",
    "version 1.2.3 and 300.1.1.1",
    "iphone 13 128gb 5g",
    "2 x 330 ml, 12.99 USD",
    "订单20200131001共3件",
    "a@b is no address",
]


@pytest.fixture(scope="module")
def scrubbed(spark: Any) -> dict[str, str]:
    from jobs import scrubbing

    texts = [text for text, _ in GONE] + STAYS
    rows = spark.createDataFrame([(t, t) for t in texts], "original string, text string")
    return {row["original"]: row["text"] for row in scrubbing.scrubbed(rows, "text").collect()}


@pytest.mark.parametrize(("text", "expected"), GONE)
def test_gone(scrubbed: dict[str, str], text: str, expected: str) -> None:
    assert scrubbed[text] == expected


@pytest.mark.parametrize("text", STAYS)
def test_stays(scrubbed: dict[str, str], text: str) -> None:
    assert scrubbed[text] == text


PEOPLE = [
    ("u1", "Ann Smith", "ann@x", "+1 415 555 0132", "12 Long Street, Town"),
    ("u2", "王小明", None, "13812345678", "北京市海淀区中关村大街1号"),
    ("u3", None, None, None, None),
    ("u4", r"Weird \E(.*", None, None, None),
]
OWN = [
    ("u1", "Regards, SMITH", "Regards, <NAME>"),
    ("u1", "Annual plan for ann smith", "Annual plan for <NAME>"),
    ("u1", "write ann@x", "write <EMAIL>"),
    ("u1", "ring 415.555.0132!", "ring <PHONE>!"),
    ("u1", "to 12 long street  Town please", "to <ADDRESS> please"),
    ("u2", "我是王小明，住北京市海淀区中关村大街1号", "我是<NAME>，住<ADDRESS>"),
    ("u2", "138 1234 5678", "<PHONE>"),
    ("u2", "Ann Smith is somebody else", "Ann Smith is somebody else"),
    ("u3", "nothing known", "nothing known"),
    ("u4", "any text", "any text"),
    ("nobody", "not a visitor", "not a visitor"),
]


def test_a_visitors_own_identifiers_go_and_the_second_look_agrees(spark: Any) -> None:
    from pyspark.sql import functions as F

    from jobs import scrubbing

    people = spark.createDataFrame(PEOPLE, "visitor_id string, name string, email string, phone string, address string")
    rows = spark.createDataFrame([(v, t, t) for v, t, _ in OWN], "visitor_id string, original string, text string")
    done = scrubbing.without_own(rows, "text", scrubbing.own_patterns(people))
    assert {r["original"]: r["text"] for r in done.collect()} == {t: e for _, t, e in OWN}

    def left(column: str) -> dict[str, set[str]]:
        beside = done.join(people, "visitor_id", "left")
        held = scrubbing.residue(F.col(column), {own: F.col(own) for own in scrubbing.OWN})
        found = beside.select("original", *[f.alias(k) for k, f in held.items()]).collect()
        return {r["original"]: {k for k in held if r[k]} for r in found}

    assert not any(left("text").values())
    before = left("original")  # the second look does see what was there
    assert before["Annual plan for ann smith"] == {"name"}
    assert before["write ann@x"] == {"email"}
    assert before["to 12 long street  Town please"] == {"address"}
    assert before["我是王小明，住北京市海淀区中关村大街1号"] == {"name", "address"}
    assert before["138 1234 5678"] == {"phone"}


def test_the_second_look_finds_any_e_mail_address(spark: Any) -> None:
    from pyspark.sql import functions as F

    from jobs import scrubbing

    rows = spark.createDataFrame([("x@y.zz", None), ("<EMAIL>", None)], "t string, n string")
    held = scrubbing.residue(F.col("t"), dict.fromkeys(scrubbing.OWN, F.col("n")))["any e-mail"]
    assert [r[0] for r in rows.select(held).collect()] == [True, False]
