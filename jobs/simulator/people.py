"""Made-up personal data that is well-formed: checksums hold, so that a scrubber must find it.

All values are invented; telephone numbers and cards come from ranges that look real, because a detector has to
meet such. Every function takes its own random generator.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Rng = np.random.Generator

GIVEN_EN = (
    "Alice",
    "Brian",
    "Carla",
    "Derek",
    "Elena",
    "Frank",
    "Grace",
    "Hugo",
    "Irene",
    "Jacob",
    "Karen",
    "Liam",
    "Marta",
    "Nolan",
    "Olivia",
    "Peter",
    "Quinn",
    "Rosa",
    "Simon",
    "Tessa",
    "Ursula",
    "Victor",
    "Wendy",
    "Yusuf",
)
FAMILY_EN = (
    "Abbott",
    "Barnes",
    "Castillo",
    "Dawson",
    "Ellery",
    "Fletcher",
    "Gibson",
    "Hartley",
    "Iverson",
    "Jennings",
    "Keller",
    "Lowell",
    "Maddox",
    "Norwood",
    "Osborne",
    "Prescott",
    "Ramsey",
    "Sinclair",
    "Thornton",
    "Whitaker",
)
GIVEN_ZH = (
    "伟",
    "芳",
    "娜",
    "秀英",
    "敏",
    "静",
    "丽",
    "强",
    "磊",
    "洋",
    "艳",
    "勇",
    "杰",
    "娟",
    "涛",
    "明",
    "超",
    "婷",
)
FAMILY_ZH = ("王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴", "徐", "孙", "胡", "朱", "高", "林", "何", "郭")
STREETS_EN = ("Maple Street", "Oak Avenue", "Church Lane", "Mill Road", "High Street", "Station Road", "Elm Drive")
STREETS_ZH = ("中山路", "人民路", "解放路", "建设路", "和平路", "长江路", "北京路")
CITIES_ZH = (
    ("110101", "北京市东城区"),
    ("310104", "上海市徐汇区"),
    ("440305", "深圳市南山区"),
    ("330106", "杭州市西湖区"),
)


def pick(rng: Rng, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def digits(rng: Rng, count: int) -> str:
    return "".join(map(str, rng.integers(0, 10, count)))


def luhn_digit(payload: str) -> str:
    """The check digit of ISO/IEC 7812.

    >>> luhn_digit("7992739871")
    '3'
    """
    doubled = [int(d) * (2 if i % 2 == 0 else 1) for i, d in enumerate(reversed(payload))]
    return str(-sum(d // 10 + d % 10 for d in doubled) % 10)


def card(rng: Rng) -> str:
    """A card number of 16 digits, in fours half of the time."""
    body = pick(rng, ("4", "51", "52", "53")) + digits(rng, 15)
    number = body[:15] + luhn_digit(body[:15])
    return " ".join(number[i : i + 4] for i in range(0, 16, 4)) if rng.random() < 0.5 else number


def iban(rng: Rng) -> str:
    """A German account number with the check digits of ISO 13616."""
    account = digits(rng, 18)
    check = 98 - int(account + "131400") % 97
    return f"DE{check:02d}{account}"


def resident_id_digit(payload: str) -> str:
    """The last character of a Chinese resident id, MOD 11-2 of GB 11643.

    >>> resident_id_digit("11010519491231002")
    'X'
    """
    return "10X98765432"[sum(int(d) * (2 ** (17 - i) % 11) for i, d in enumerate(payload)) % 11]


def resident_id(rng: Rng) -> str:
    """A Chinese resident id: place, birthday, sequence, checksum."""
    day = np.datetime64("1955-01-01") + int(rng.integers(0, 18_000))
    body = (
        CITIES_ZH[int(rng.integers(len(CITIES_ZH)))][0] + str(day).replace("-", "") + f"{int(rng.integers(1, 999)):03d}"
    )
    return body + resident_id_digit(body)


def ssn(rng: Rng) -> str:
    """A social security number in the ranges that are given out."""
    return f"{int(rng.integers(1, 665)):03d}-{int(rng.integers(1, 99)):02d}-{int(rng.integers(1, 9999)):04d}"


def ip_address(rng: Rng) -> str:
    return ".".join(map(str, [int(rng.integers(11, 126)), *map(int, rng.integers(1, 254, 3))]))


def phone_en(rng: Rng) -> str:
    """A North American number, written in one of three ways."""
    area, exchange, line = int(rng.integers(201, 989)), int(rng.integers(200, 999)), int(rng.integers(0, 9999))
    return (f"({area}) {exchange}-{line:04d}", f"{area}-{exchange}-{line:04d}", f"+1 {area} {exchange} {line:04d}")[
        int(rng.integers(3))
    ]


def phone_zh(rng: Rng) -> str:
    """A mainland mobile number."""
    number = pick(rng, ("13", "15", "17", "18", "19")) + digits(rng, 9)
    return (number, f"+86 {number}", f"{number[:3]}-{number[3:7]}-{number[7:]}")[int(rng.integers(3))]


def name_en(rng: Rng) -> str:
    return f"{pick(rng, GIVEN_EN)} {pick(rng, FAMILY_EN)}"


def name_zh(rng: Rng) -> str:
    return pick(rng, FAMILY_ZH) + pick(rng, GIVEN_ZH)


def email(rng: Rng) -> str:
    domain = pick(rng, ("example.com", "example.org", "mail.example.net", "post.example.cn"))
    return f"{pick(rng, GIVEN_EN)}.{pick(rng, FAMILY_EN)}{int(rng.integers(1, 999))}@{domain}".lower()


def address_en(rng: Rng) -> str:
    return f"{int(rng.integers(1, 980))} {pick(rng, STREETS_EN)}"


def address_zh(rng: Rng) -> str:
    city = CITIES_ZH[int(rng.integers(len(CITIES_ZH)))][1]
    return f"{city}{pick(rng, STREETS_ZH)}{int(rng.integers(1, 980))}号"


@dataclass(frozen=True)
class Person:
    """Who writes: the values that they may give away in a text."""

    language: str
    name: str
    email: str
    phone: str
    address: str


def person(rng: Rng, language: str) -> Person:
    """Somebody made up."""
    if language == "zh":
        return Person("zh", name_zh(rng), email(rng), phone_zh(rng), address_zh(rng))
    return Person("en", name_en(rng), email(rng), phone_en(rng), address_en(rng))


Slot = Callable[[Rng, Person], str]
SLOTS: dict[str, Slot] = {
    "name": lambda rng, who: who.name,
    "email": lambda rng, who: who.email,
    "phone": lambda rng, who: who.phone,
    "address": lambda rng, who: who.address,
    "card": lambda rng, who: card(rng),
    "iban": lambda rng, who: iban(rng),
    "resident_id": lambda rng, who: resident_id(rng),
    "ssn": lambda rng, who: ssn(rng),
    "ip": lambda rng, who: ip_address(rng),
}


@dataclass(frozen=True)
class Planted:
    """A personal value in a text: what it is, and the characters where it stands."""

    kind: str
    value: str
    start: int
    end: int


def fill(rng: Rng, template: str, who: Person) -> tuple[str, list[Planted]]:
    """A template's text, with the place of every personal value in it."""
    text, planted = "", []
    for index, piece in enumerate(template.split("|")):
        if index % 2 == 0:
            text += piece
            continue
        value = SLOTS[piece](rng, who)
        planted.append(Planted(piece, value, len(text), len(text) + len(value)))
        text += value
    return text, planted


REVIEWS = {
    "en": {
        1: (
            "Broke after two days. Very disappointed.",
            "Arrived damaged, and nobody answers. Write to me at |email|.",
            "Terrible. I want my money back on card |card|.",
        ),
        2: ("Not as described, rather cheap.", "The size is wrong. Call me on |phone|."),
        3: ("It is all right for the price.", "Does the job, nothing more. - |name|"),
        4: ("Good quality, quick delivery.", "My family likes it. Regards, |name|", "Nearly perfect."),
        5: ("Excellent! I will buy it again.", "Best I have had. Ask |name| at |email| if you doubt it.", "Love it."),
    },
    "zh": {
        1: (
            "用了两天就坏了，非常失望。",
            "收到时已经破损，没人回复，请联系我：|phone|。",
            "太差了，请退款到卡 |card|。",
        ),
        2: ("和描述不符，质量一般。", "尺寸不对，请打电话给我 |phone|。"),
        3: ("价格合适，还可以。", "一般般。——|name|"),
        4: ("质量不错，送货很快。", "家人都喜欢。|name|", "基本满意。"),
        5: ("非常好，会再买！", "最好用的一款，有问题可以写信给 |email|。", "太喜欢了。"),
    },
}
TICKETS = {
    "en": (
        ("delivery", "My parcel has not arrived. Please send it to |address|. My name is |name|."),
        ("refund", "Please refund order to IBAN |iban|, in the name of |name|."),
        ("payment", "My card |card| was charged twice. Reach me at |phone|."),
        ("account", "I cannot sign in as |email|. I tried from |ip|."),
        ("account", "To verify me: my SSN is |ssn|. Thanks, |name|"),
        ("delivery", "Where is my order? It was due last week."),
        ("product", "Does this come in a larger size?"),
        ("refund", "I would like to return an item that does not fit."),
    ),
    "zh": (
        ("delivery", "包裹还没有到，请寄到|address|，收件人|name|。"),
        ("refund", "请把退款转到我的卡 |card|，谢谢，|name|。"),
        ("payment", "我被重复扣款，身份证号 |resident_id|，电话 |phone|。"),
        ("account", "无法登录账号 |email|，登录地址 |ip|。"),
        ("account", "实名认证失败，我的身份证是|resident_id|。"),
        ("delivery", "我的订单什么时候能到？"),
        ("product", "这个有大一号的吗？"),
        ("refund", "不合适，想退货。"),
    ),
}
PERSONAL_QUERIES = {"en": ("order for |email|", "|phone| delivery"), "zh": ("|phone| 订单", "|email| 快递")}
