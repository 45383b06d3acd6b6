"""Scrubbing: what is personal goes, what only looks like it stays; by hand, English and Chinese."""

import re
import subprocess
import sys
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
    ("shop.example.com/verify?auth=9f2c", "<URL>"),
    ("ping fe80::1ff:fe23:4567:890a", "ping <IP>"),
    ("device a0:b1:c2:d3:e4:f5 offline", "device <MAC> offline"),
    ("device 00-11-22-33-44-5F offline", "device <MAC> offline"),
    ("plate number AB12 CDE", "plate number <PLATE>"),
    ("车牌京A12345，谢谢", "车牌<PLATE>，谢谢"),
    ("粤B·D12345停在门口", "<PLATE>停在门口"),
    ("I was born on 4 May 1980.", "I was born on <BIRTHDATE>."),
    ("出生日期：1980年5月4日", "出生日期：<BIRTHDATE>"),
    ("DOB: 04/05/1980", "DOB: <BIRTHDATE>"),
    ("my driver's license is D1234567", "my driver's license is <LICENCE>"),
    ("passport no. 123456789", "passport no. <PASSPORT>"),
    ("护照号码：E12345678", "护照号码：<PASSPORT>"),
    ("ship it to 12 Long Street", "ship it to <ADDRESS>"),
    ("send it to 8 wressle road please", "send it to <ADDRESS> please"),
    ("P.O. Box 1234", "<ADDRESS>"),
    ("my zip code is EC1A 1BB, soon", "my zip code is <ADDRESS>, soon"),
    ("it is at 21 Baker Street, London NW1 6XE now", "it is at <ADDRESS> now"),
    ("to 12 Elm Street, Ottawa K1A 0B1, please", "to <ADDRESS>, please"),
    ("my social is 123 45 6789", "my social is <SSN>"),
    ("DRIVER MICHAEL SMITH CALLED TWICE", "DRIVER <NAME> CALLED TWICE"),
    ("THIS IS ANNE-MARIE LOPEZ FROM ACCOUNTING", "THIS IS <NAME> FROM ACCOUNTING"),
    ("MY NAME IS MARY O'BRIEN AND I WAIT", "MY NAME IS <NAME> AND I WAIT"),
    ("my name is zork and my phone rings", "my name is <NAME> and my phone rings"),
    ("快递员李明把我的包裹弄丢了", "快递员<NAME>把我的包裹弄丢了"),
    ("我妈妈刘秀英今年很好", "我妈妈<NAME>今年很好"),
    ("发票抬头：王芳", "发票抬头：<NAME>"),
    ("请寄到北京市海淀区中关村大街1号", "请寄到<ADDRESS>"),
    ("送到幸福小区3号楼2单元501室", "送到<ADDRESS>"),
    ("ask Olivia Hernandez", "ask <NAME>"),
    ("Dear Mr. Quux,", "Dear Mr. <NAME>,"),
    ("thanks, Krisztián", "thanks, <NAME>"),
    ("my name is zork", "my name is <NAME>"),
    ("我叫王小明，谢谢", "我叫<NAME>，谢谢"),
    ("收货人：欧阳娜娜 电话", "收货人：<NAME> 电话"),
    ("王先生您好", "<NAME>先生您好"),
    ("I am 43 years old", "I am <AGE> years old"),
    ("my son Zork is ill", "my son <NAME> is ill"),
    ("here Zork lives with us", "here <NAME> lives with us"),
    ("at Zork's house", "at <NAME>'s house"),
    ("ask Quuxovich, please", "ask <NAME>, please"),
    ("ask Zørk Quux, please", "ask <NAME>, please"),
    ("card for Cat6 4111 1111 1111 1111", "card for Cat6 <CARD>"),
    ("Zork Quux\nin town", "<NAME>\nin town"),
    ("Zork, can you help?", "<NAME>, can you help?"),
    ("everyone calls me Zork", "everyone calls me <NAME>"),
    ("my maiden name is zork.", "my maiden name is <NAME>."),
    ("meet me at 2407 tawastintie 6, thanks", "meet me at <ADDRESS>, thanks"),
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
    "EAN 4006381333931",
    "order no. 112-3456789-1234567",
    "订单号13812345678还没到",
    "SKU 13912345678",
    "toys for 3 years old",
    "a 12 years old whisky",
    "USB Flash Drive 16 GB, 2 Way",
    "rose will mark the date in may",
    "HP Pavilion dv7-1211ea Notebook Silver 43.2 cm",
    "Canon EOS 5D Mark IV",
    "std::vector and 12:30:45",
    "王牌吸尘器，高明的设计",
    "我是新用户",
    "Sky over it, HUSKY and WHISKY",
    "However, can I pay later?",
    "my friend bought one, my Canon works",
    "it was sent to 3 shops in 2 days",
    "内存16G，硬盘512G",
    "the zip code is 7 long",
    "pattern 11-22-33-44-55-66 of the lot",
    "CANON EOS ROSE GOLD, BLACK LEATHER CASE FOR IPHONE",
    "my name is not on the parcel",
    "social media 2 x 330 ml",
    "司机马上把货送来，客服方便说话",
    "我妈妈很高兴，朋友都说好",
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
    ("u1", "see https://x.example/ann/smith", "see <URL>"),
    ("u1", "write ann@x", "write <EMAIL>"),
    ("u1", "ring 415.555.0132!", "ring <PHONE>!"),
    ("u1", "to 12 long street  Town please", "to <ADDRESS> please"),
    ("u2", "我是王小明，住北京市海淀区中关村大街1号", "我是<NAME>，住<ADDRESS>"),
    ("u2", "138 1234 5678", "<PHONE>"),
    ("u2", "Zork Quux is somebody else", "Zork Quux is somebody else"),
    ("u3", "nothing known", "nothing known"),
    ("u4", "any text", "any text"),
    ("nobody", "not a visitor", "not a visitor"),
]


def test_a_visitors_own_identifiers_go_and_the_second_look_agrees(spark: Any) -> None:
    from pyspark.sql import functions as F

    from jobs import scrubbing

    people = spark.createDataFrame(PEOPLE, "visitor_id string, name string, email string, phone string, address string")
    rows = spark.createDataFrame([(v, t, t) for v, t, _ in OWN], "visitor_id string, original string, text string")
    done = scrubbing.scrubbed(rows, "text", scrubbing.own_patterns(people))
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


# Placeholders ---------------------------------------------------------------------------------


def tied(spark: Any, rows: list[tuple[str, str]], key: bytes = b"k" * 32) -> list[str]:
    from pyspark.sql import functions as F

    from jobs import scrubbing

    there = spark.createDataFrame([(n, *row) for n, row in enumerate(rows)], "n int, v string, text string")
    done = scrubbing.scrubbed(there.withColumn("_secret", F.lit(key)), "text", visitor="v")
    return [row["text"] for row in done.orderBy("n").collect()]


def test_a_placeholder_is_stable_within_a_visitor_and_links_no_two(spark: Any) -> None:
    first, again, other, own, also = tied(
        spark,
        [
            ("u1", "call 415-555-0132"),
            ("u1", "or (415) 555-0132, it is the same"),
            ("u2", "call 415-555-0132"),
            ("u1", "call 415-555-0133"),
            ("u1", "a@x.example or b@x.example"),
        ],
    )
    letters = first.removeprefix("call <PHONE_").removesuffix(">")
    assert len(letters) == 8 and set(letters) <= set("ghijklmnopqrstuv")
    assert again == f"or <PHONE_{letters}>, it is the same"  # the same value, however it is written
    assert len({first, other, own}) == 3  # another visitor, another value
    assert len(set(re.findall("_([g-v]{8})>", also))) == 2
    (rotated,) = tied(spark, [("u1", "call 415-555-0132")], key=b"l" * 32)
    assert rotated != first  # another key unlinks


def test_what_looks_like_a_mask_in_a_text_is_no_mask(spark: Any) -> None:
    (text,) = tied(spark, [("u1", "\x0ea\x0f\x0fa@x.example\x10\x10 end")])
    assert re.fullmatch("<EMAIL_[g-v]{8}> end", text)  # without the marks it is one address


def test_what_looks_like_a_label_in_a_text_is_no_label(spark: Any) -> None:
    (text,) = tied(spark, [("u1", "ask \x16Zork\x1e now, not\x11 Olivia Hernandez")])
    assert re.fullmatch("ask Zork now, not <NAME_[g-v]{8}>", text)


def test_placeholders_are_counted_with_their_letters_and_residue_sees_past_them(spark: Any) -> None:
    from pyspark.sql import functions as F

    from jobs import scrubbing

    (text,) = tied(spark, [("u1", "a@x.example b@x.example 4111111111111111")])
    rows = spark.createDataFrame([(text, None)], "t string, n string")
    counts = [F.regexp_count("t", F.lit(scrubbing.counted(kind))) for kind in ("EMAIL", "CARD", "NAME")]
    assert tuple(rows.select(*counts).collect()[0]) == (2, 1, 0)
    held = scrubbing.residue(F.col("t"), dict.fromkeys(scrubbing.OWN, F.col("n")))
    assert not any(rows.select(*held.values()).collect()[0])


def test_spans_are_told_in_characters(spark: Any) -> None:
    """Also behind characters that are two to Java."""
    from jobs import scrubbing

    text = "😀 𠮷 a@x.example"
    rows, found = scrubbing.found(spark.createDataFrame([(text,), (None,), ("",)], "text string"), "text")
    assert [row[0] for row in rows.select(found).collect()] == ["4 15 EMAIL;", None, ""]
    (start, end, kind), *_ = scrubbing.spans("4 15 EMAIL;")
    assert (text[start:end], kind) == ("a@x.example", "EMAIL")
    (masked,) = tied(spark, [("u1", text)])
    assert re.fullmatch("😀 𠮷 <EMAIL_[g-v]{8}>", masked)


def test_what_is_found_in_a_text_does_not_hang_on_the_texts_before(spark: Any) -> None:
    """One thread's buffers serve text after text, long and short."""
    from jobs import scrubbing

    texts = [text for text, _ in GONE] + STAYS + ["Olivia Hernandez, 12 Long Street. " * 200, "", "😀" * 700, "x"]

    def all_of(order: list[int]) -> dict[int, str]:
        rows = spark.createDataFrame([(n, texts[n]) for n in order], "n int, text string").coalesce(1)
        rows, found = scrubbing.found(rows, "text")
        return {row["n"]: row["found"] for row in rows.select("n", found.alias("found")).collect()}

    forwards = list(range(len(texts)))
    assert all_of(forwards) == all_of(forwards[::-1])
    assert sum(map(bool, all_of(forwards).values())) == len(GONE) + 1


AGAIN = """
from jobs import scrubbing
from jobs.spark import session
for _ in range(2):
    with session("again", rows=1) as spark:
        rows = spark.createDataFrame([("a@x.example",)] * 2, "text string").repartition(2)
        print([row[0] for row in scrubbing.scrubbed(rows, "text").collect()])
"""


def test_one_jvm_scrubs_for_one_session_after_another() -> None:
    done = subprocess.run([sys.executable, "-c", AGAIN], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["['<EMAIL>', '<EMAIL>']"] * 2, done.stderr


# A recogniser from outside --------------------------------------------------------------------


def loyalty_cards(texts: list[str]) -> list[list[tuple[int, int, str]]]:
    """A recogniser such as a shop may write: its own loyalty cards."""
    return [[(m.start(), m.end(), "CARD") for m in re.finditer(r"LOYAL-\d+", text)] for text in texts]


def test_a_recogniser_is_plugged_in_by_a_setting(spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("u1", "LOYAL-77 of Olivia Hernandez"), ("u1", "nothing"), ("u2", "LOYAL-77")]
    plain = tied(spark, rows)
    assert plain[0].startswith("LOYAL-77 of <NAME_")
    monkeypatch.setenv("ENDCAP_RECOGNISER", "tests.jobs.test_scrubbing:loyalty_cards")
    first, nothing, other = tied(spark, rows)
    assert re.fullmatch(r"<CARD_[g-v]{8}> of <NAME_[g-v]{8}>", first) and nothing == "nothing"
    assert re.fullmatch(r"<CARD_[g-v]{8}>", other) and other not in first


@pytest.mark.parametrize("path", ["nowhere.at.all:find", "tests.jobs.test_scrubbing:nothing", "re", "re:__doc__"])
def test_a_recogniser_that_cannot_be_had_is_told(path: str) -> None:
    from jobs import scrubbing
    from jobs.console import Problem

    with pytest.raises(Problem, match="recogniser"):
        scrubbing.recogniser(path)


@pytest.mark.parametrize("span", [(0, 3, "SOMETHING"), (2, 2, "NAME"), (0, 99, "NAME")])
def test_a_span_that_cannot_be_is_an_error(span: tuple[int, int, str]) -> None:
    from jobs import scrubbing

    with pytest.raises(ValueError, match="plugged"):
        scrubbing.noted("a text", [span])


def presidio(texts: list[str]) -> list[list[tuple[int, int, str]]]:
    """Presidio's recogniser of Spanish tax numbers, as a shop would plug it in."""
    from presidio_analyzer.predefined_recognizers import EsNifRecognizer

    known = EsNifRecognizer()
    return [[(r.start, r.end, "LICENCE") for r in known.analyze(t, known.supported_entities)] for t in texts]


def test_presidio_can_be_plugged_in(spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("presidio_analyzer")
    monkeypatch.setenv("ENDCAP_RECOGNISER", "tests.jobs.test_scrubbing:presidio")
    (text,) = tied(spark, [("u1", "NIF 55555555K")])
    assert re.fullmatch(r"NIF <LICENCE_[g-v]{8}>", text)
