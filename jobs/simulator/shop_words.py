"""The grammar of the generated shop: what it sells, in two languages, and how people ask for it.

A title is brand + attribute + noun + size. A query may use the title's noun and attribute, or other words for the
same thing (`asked`), which no title holds: so a search by words alone is imperfect, and can be learned to be better.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of item. Words are (English, Chinese); the first noun stands in titles, the others in queries only."""

    department: str
    category: str
    english: tuple[str, str, str]
    chinese: tuple[str, str, str]
    attributes: str  # key of ATTRIBUTES
    sizes: tuple[str, ...]
    price: float


# attribute in titles, and in queries: English, Chinese
ATTRIBUTES: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "sound": (
        ("Wireless", "cordless", "无线", "免连线"),
        ("Noise-Cancelling", "quiet", "降噪", "静音"),
        ("Waterproof", "rainproof", "防水", "防雨"),
    ),
    "food": (
        ("Organic", "natural", "有机", "天然"),
        ("Low-Sugar", "diabetic", "低糖", "控糖"),
        ("Family Pack", "bulk", "家庭装", "大包"),
    ),
    "house": (
        ("Foldable", "collapsible", "折叠", "可收纳"),
        ("Stainless", "rustproof", "不锈钢", "不生锈"),
        ("Mini", "small", "迷你", "小号"),
    ),
    "care": (
        ("Fragrance-Free", "unscented", "无香", "没有香味"),
        ("Gentle", "sensitive skin", "温和", "敏感肌"),
        ("Travel", "pocket", "旅行装", "便携"),
    ),
    "cloth": (
        ("Insulated", "warm", "保暖", "御寒"),
        ("Breathable", "airy", "透气", "凉快"),
        ("Windproof", "storm", "防风", "挡风"),
    ),
}

_V, _W, _P = ("250 ml", "500 ml", "1 L"), ("200 g", "500 g", "1 kg"), ("1 pc", "2 pcs", "4 pcs")
KINDS: tuple[Kind, ...] = (
    Kind("Electronics", "Audio", ("Headphones", "earphones", "headset"), ("耳机", "耳麦", "听歌耳塞"), "sound", _P, 59),
    Kind("Electronics", "Audio", ("Speaker", "music box", "sound system"), ("音箱", "音响", "扬声器"), "sound", _P, 79),
    Kind(
        "Electronics", "Audio", ("Microphone", "mic", "voice recorder"), ("麦克风", "话筒", "录音设备"), "sound", _P, 49
    ),
    Kind(
        "Electronics",
        "Power",
        ("Charger", "power adapter", "wall plug"),
        ("充电器", "充电头", "电源适配器"),
        "house",
        _P,
        19,
    ),
    Kind(
        "Electronics",
        "Power",
        ("Power Bank", "portable battery", "battery pack"),
        ("充电宝", "移动电源", "随身电池"),
        "house",
        _P,
        29,
    ),
    Kind("Electronics", "Power", ("Flashlight", "torch", "hand lamp"), ("手电筒", "照明灯", "电筒"), "sound", _P, 15),
    Kind("Grocery", "Drinks", ("Green Tea", "sencha", "leaf brew"), ("绿茶", "龙井", "茶叶"), "food", _W, 9),
    Kind("Grocery", "Drinks", ("Coffee", "espresso", "java beans"), ("咖啡", "意式浓缩", "提神饮品"), "food", _W, 12),
    Kind("Grocery", "Drinks", ("Orange Juice", "oj", "citrus drink"), ("橙汁", "果汁", "橘子饮料"), "food", _V, 4),
    Kind(
        "Grocery", "Drinks", ("Soy Milk", "plant milk", "dairy free drink"), ("豆浆", "豆奶", "植物奶"), "food", _V, 3
    ),
    Kind("Grocery", "Staples", ("Rice", "basmati", "grain"), ("大米", "米饭", "粳米"), "food", _W, 6),
    Kind("Grocery", "Staples", ("Noodles", "ramen", "pasta"), ("面条", "拉面", "挂面"), "food", _W, 4),
    Kind("Grocery", "Staples", ("Soy Sauce", "shoyu", "seasoning"), ("酱油", "生抽", "调味汁"), "food", _V, 5),
    Kind("Grocery", "Staples", ("Cooking Oil", "frying fat", "canola"), ("食用油", "炒菜油", "菜籽油"), "food", _V, 8),
    Kind("Grocery", "Snacks", ("Biscuits", "cookies", "crackers"), ("饼干", "曲奇", "酥饼"), "food", _W, 3),
    Kind("Grocery", "Snacks", ("Chocolate", "cocoa bar", "candy"), ("巧克力", "可可糖", "甜食"), "food", _W, 5),
    Kind("Grocery", "Snacks", ("Dried Fruit", "raisins", "fruit snack"), ("果干", "葡萄干", "蜜饯"), "food", _W, 6),
    Kind("Grocery", "Snacks", ("Nuts", "almonds", "trail mix"), ("坚果", "杏仁", "干果"), "food", _W, 9),
    Kind("Home", "Kitchen", ("Kettle", "water boiler", "teapot"), ("水壶", "烧水壶", "茶壶"), "house", _P, 35),
    Kind("Home", "Kitchen", ("Frying Pan", "skillet", "cookware"), ("平底锅", "煎锅", "炊具"), "house", _P, 28),
    Kind("Home", "Kitchen", ("Knife", "blade", "cutter"), ("菜刀", "刀具", "切菜工具"), "house", _P, 22),
    Kind("Home", "Kitchen", ("Lunch Box", "bento", "food container"), ("饭盒", "便当盒", "餐盒"), "house", _P, 14),
    Kind("Home", "Cleaning", ("Broom", "sweeper", "floor brush"), ("扫帚", "扫把", "清扫工具"), "house", _P, 11),
    Kind(
        "Home",
        "Cleaning",
        ("Detergent", "washing powder", "laundry soap"),
        ("洗衣液", "洗衣粉", "衣物清洁剂"),
        "care",
        _V,
        9,
    ),
    Kind(
        "Home",
        "Cleaning",
        ("Dish Soap", "washing up liquid", "plate cleaner"),
        ("洗洁精", "洗碗液", "餐具清洁"),
        "care",
        _V,
        4,
    ),
    Kind(
        "Home",
        "Cleaning",
        ("Trash Bags", "bin liners", "garbage sacks"),
        ("垃圾袋", "清洁袋", "废物袋"),
        "house",
        _P,
        5,
    ),
    Kind("Beauty", "Hair", ("Shampoo", "hair wash", "hair cleanser"), ("洗发水", "洗头膏", "香波"), "care", _V, 8),
    Kind("Beauty", "Hair", ("Conditioner", "hair balm", "detangler"), ("护发素", "润发乳", "发膜"), "care", _V, 9),
    Kind("Beauty", "Hair", ("Hair Dryer", "blow dryer", "blower"), ("吹风机", "电吹风", "干发器"), "house", _P, 39),
    Kind("Beauty", "Skin", ("Sunscreen", "sunblock", "uv protection"), ("防晒霜", "防晒乳", "隔离霜"), "care", _V, 15),
    Kind("Beauty", "Skin", ("Face Cream", "moisturizer", "skin lotion"), ("面霜", "保湿乳", "润肤露"), "care", _V, 18),
    Kind("Beauty", "Skin", ("Soap", "hand wash", "cleansing bar"), ("香皂", "洗手液", "肥皂"), "care", _P, 3),
    Kind(
        "Beauty",
        "Mouth",
        ("Toothpaste", "dental paste", "teeth cleaner"),
        ("牙膏", "洁牙膏", "口腔护理"),
        "care",
        _V,
        4,
    ),
    Kind(
        "Beauty", "Mouth", ("Toothbrush", "dental brush", "teeth brush"), ("牙刷", "洁牙刷", "刷牙工具"), "care", _P, 5
    ),
    Kind("Clothing", "Outdoor", ("Jacket", "coat", "anorak"), ("夹克", "外套", "冲锋衣"), "cloth", _P, 89),
    Kind("Clothing", "Outdoor", ("Gloves", "mittens", "hand warmers"), ("手套", "暖手套", "护手"), "cloth", _P, 19),
    Kind("Clothing", "Outdoor", ("Hat", "cap", "beanie"), ("帽子", "毛线帽", "头巾"), "cloth", _P, 17),
    Kind("Clothing", "Shoes", ("Running Shoes", "sneakers", "trainers"), ("跑鞋", "运动鞋", "球鞋"), "cloth", _P, 75),
    Kind("Clothing", "Shoes", ("Boots", "hiking footwear", "ankle shoes"), ("靴子", "登山鞋", "短靴"), "cloth", _P, 95),
    Kind("Clothing", "Shoes", ("Socks", "hosiery", "stockings"), ("袜子", "棉袜", "长筒袜"), "cloth", _P, 6),
)
BRANDS = (
    ("Norvik", "Alderby", "Fenmoor", "Quillon", "Brightwell", "Tarnow"),
    ("云杉", "海岚", "青禾", "晨光里", "松果屋", "木棉"),
)
# Families of taste: the kinds that one sort of visitor buys again and again.
CLUSTERS = (
    (6, 7, 14, 15, 17),
    (8, 9, 10, 11, 12),
    (13, 16, 18, 21, 24),
    (23, 24, 25, 22, 31),
    (26, 27, 29, 30, 32),
    (35, 36, 37, 39, 5),
)
