"""What the demo shop sells, from where and to whom: instruments, for a maestro."""

from __future__ import annotations

from dataclasses import dataclass

from domain.orders import ChannelKind, ReleaseGate
from domain.stock import LocationKind


@dataclass(frozen=True, slots=True)
class DemoChannel:
    code: str
    name: str
    kind: ChannelKind
    currency: str
    locations: tuple[str, ...]
    gate: ReleaseGate | None = None
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class DemoLocation:
    code: str
    name: str
    kind: LocationKind
    city: str
    country_code: str
    time_zone: str


LOCATIONS = (
    DemoLocation("BERLIN", "Berlin warehouse", LocationKind.WAREHOUSE, "Berlin", "DE", "Europe/Berlin"),
    DemoLocation(
        "PORTO", "Porto fulfilment", LocationKind.THIRD_PARTY_LOGISTICS, "Porto", "PT", "Europe/Lisbon"
    ),
    DemoLocation("VIENNA-SHOP", "Shop in Vienna", LocationKind.STORE, "Vienna", "AT", "Europe/Vienna"),
)

CHANNELS = (
    DemoChannel("WEB", "maestro.shop", ChannelKind.ECOMMERCE, "EUR", ("BERLIN", "PORTO"), prefix="W"),
    DemoChannel(
        "MARKET", "Marketplace Europe", ChannelKind.MARKETPLACE, "EUR", ("PORTO", "BERLIN"), prefix="M"
    ),
    DemoChannel("MARKET-US", "Marketplace America", ChannelKind.MARKETPLACE, "USD", ("BERLIN",), prefix="U"),
    DemoChannel("SHOP", "Shop in Vienna", ChannelKind.STORE, "EUR", ("VIENNA-SHOP", "BERLIN"), prefix="S"),
    DemoChannel("PHONE", "By telephone", ChannelKind.PHONE, "EUR", ("BERLIN",), ReleaseGate.CAPTURED, "P"),
    DemoChannel(
        "REPS", "Sales representatives", ChannelKind.SALES_REPRESENTATIVE, "EUR", ("BERLIN",), prefix="R"
    ),
)

FAMILIES: tuple[tuple[str, tuple[tuple[str, int, int], ...]], ...] = (
    (
        "STR",
        (
            ("Violin, student", 24900, 2100),
            ("Violin, concert", 189000, 2200),
            ("Viola", 54900, 2600),
            ("Cello 4/4", 129000, 9800),
            ("Double bass", 349000, 28000),
            ("Violin bow, carbon", 15900, 160),
            ("Cello bow, pernambuco", 64900, 190),
            ("Violin strings, set", 4990, 40),
            ("Cello strings, set", 14900, 90),
            ("Rosin, dark", 890, 60),
            ("Chin rest", 2490, 80),
            ("Shoulder rest", 3490, 130),
        ),
    ),
    (
        "WND",
        (
            ("Flute, silver head", 99900, 1400),
            ("Piccolo", 74900, 700),
            ("Oboe", 229000, 1700),
            ("Clarinet in B", 84900, 1900),
            ("Bass clarinet", 319000, 5200),
            ("Bassoon", 489000, 7600),
            ("Alto saxophone", 119000, 6100),
            ("Recorder, pear wood", 11900, 350),
            ("Clarinet reeds, box of 10", 2790, 50),
            ("Oboe reed, medium", 1990, 15),
            ("Cork grease", 490, 20),
            ("Flute cleaning set", 1490, 120),
        ),
    ),
    (
        "BRS",
        (
            ("Trumpet in B", 79900, 2700),
            ("Piccolo trumpet", 159000, 2300),
            ("French horn", 269000, 6800),
            ("Tenor trombone", 94900, 4100),
            ("Tuba", 459000, 16500),
            ("Trumpet mouthpiece 3C", 5990, 110),
            ("Straight mute", 3990, 180),
            ("Valve oil", 790, 70),
        ),
    ),
    (
        "PRC",
        (
            ("Timpani 26 inch", 389000, 41000),
            ("Snare drum", 39900, 5400),
            ("Glockenspiel", 32900, 7200),
            ("Xylophone", 219000, 26000),
            ("Triangle 15 cm", 1690, 240),
            ("Tambourine", 4490, 520),
            ("Cymbals, pair", 28900, 3800),
            ("Drum sticks 5A", 1190, 110),
            ("Timpani mallets, felt", 5490, 130),
            ("Temple blocks", 23900, 4600),
        ),
    ),
    (
        "KEY",
        (
            ("Digital piano", 99900, 24000),
            ("Celesta", 1290000, 98000),
            ("Piano bench", 12900, 9100),
            ("Harp, pedal", 1490000, 38000),
            ("Melodica", 5990, 900),
            ("Harp strings, set", 32900, 210),
        ),
    ),
    (
        "ACC",
        (
            ("Baton, birch", 1490, 20),
            ("Baton, rosewood handle", 3990, 30),
            ("Music stand, folding", 1990, 1300),
            ("Music stand, orchestra", 6990, 4700),
            ("Stand light", 2490, 260),
            ("Metronome, wind-up", 4990, 640),
            ("Metronome, digital", 1990, 90),
            ("Tuning fork 442 Hz", 1290, 70),
            ("Score: Symphony No. 5", 2490, 420),
            ("Score: The Planets", 3990, 610),
            ("Manuscript paper, 12 staves", 990, 500),
            ("Cello endpin stop", 1290, 150),
        ),
    ),
)
"""Families of products: code, then name, price in cents and weight in grams of each."""

FIRST_NAMES = (
    "Clara", "Ludwig", "Fanny", "Johannes", "Ethel", "Antonín", "Nadia", "Dmitri", "Amy", "Jean", "Lili",
    "Béla", "Teresa", "Heitor", "Cécile", "Edvard", "Ruth", "Leoš", "Germaine", "Igor",
)  # fmt: skip
LAST_NAMES = (
    "Wieck", "Fuchs", "Hensel", "Brandt", "Smythe", "Novák", "Boulin", "Petrov", "Beacham", "Sibell", "Boulez",
    "Bartos", "Carreira", "Lobos", "Chaminot", "Gregersen", "Crawfurd", "Janáčik", "Tailleur", "Stravin",
)  # fmt: skip
CITIES = (
    ("Leipzig", "04109", "DE"), ("Hamburg", "20095", "DE"), ("Vienna", "1010", "AT"), ("Prague", "110 00", "CZ"),
    ("Paris", "75009", "FR"), ("Porto", "4050-161", "PT"), ("Milan", "20121", "IT"), ("Bergen", "5014", "NO"),
    ("Helsinki", "00100", "FI"), ("London", "WC2B 5", "GB"),
    ("São Paulo", "01001-000", "BR"), ("Boston", "02115", "US"),
)  # fmt: skip
COMPANIES = (
    "Leipzig Chamber Orchestra", "Porto Youth Symphony", "Conservatory of Bergen", "Théâtre du Nord",
    "Radio Orchestra Hamburg", "Boston Wind Ensemble",
)  # fmt: skip
REPRESENTATIVES = ("Hedwig Lamm", "Orlando Reis", "Mika Saarinen")
CARRIERS = ("DHL", "UPS", "CTT")
