"""What people write in other ways than the site file does, and how it is written there: `lundi` is `mon`.

These serve hints: nothing here is accepted in place of what stands in the documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from agent.config.problems import nearest

__all__ = [
    "DAYS", "date_meant", "day_meant", "days_meant", "key_meant", "number_meant", "time_meant", "unit_meant",
    "word_meant",
]  # fmt: skip

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_NAMES = {
    name: day
    for day, names in zip(
        DAYS,
        (
            "monday lundi lun lu", "tuesday tues mardi mar ma", "wednesday mercredi mer me",
            "thursday thur thurs jeudi jeu je", "friday vendredi ven ve", "saturday samedi sam sa",
            "sunday dimanche dim di",
        ),
        strict=True,
    )
    for name in (day, *names.split())
}  # fmt: skip
_SPANS = dict.fromkeys(("weekend", "week-end"), "sat,sun") | dict.fromkeys(
    ("all", "every day", "daily", "tous", "tous les jours"), ",".join(DAYS)
)
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "janvier january jan", "février fevrier february fév fev feb", "mars march mar", "avril april avr apr",
            "mai may", "juin june jun", "juillet july juil jul", "août aout august aug", "septembre september sept sep",
            "octobre october oct", "novembre november nov", "décembre decembre december déc dec",
        ),
        1,
    )
    for name in names.split()
}  # fmt: skip
_WORDS = {
    "yes": "on", "oui": "on", "marche": "on", "allumé": "on", "true": "on", "vrai": "on",
    "no": "off", "non": "off", "arrêt": "off", "arret": "off", "éteint": "off", "false": "off", "faux": "off",
    "none": "N", "aucune": "N", "sans": "N", "even": "E", "paire": "E", "pair": "E",
    "odd": "O", "impaire": "O", "impair": "O",
    "dusk": "civil_dusk", "crépuscule": "civil_dusk", "crepuscule": "civil_dusk", "dawn": "civil_dawn",
    "aube": "civil_dawn", "coucher": "sunset", "lever": "sunrise",
    "nc": "normally_closed", "nf": "normally_closed", "no_contact": "normally_open",
    "shp": "hid", "sodium": "hid", "compteur": "counter", "confort": "comfort", "réduit": "reduced",
    "reduit": "reduced", "hors-gel": "frost", "hors gel": "frost", "férié": "public_holiday", "ferie": "public_holiday",
}  # fmt: skip
_KEYS = {
    "address": "unit_id", "adresse": "unit_id", "slave": "unit_id", "slave_id": "unit_id", "esclave": "unit_id",
    "unit": "unit_id", "id": "unit_id", "on": "switch_on", "off": "switch_off", "vitesse": "baudrate",
    "baud": "baudrate", "speed": "baudrate", "bauds": "baudrate", "parité": "parity", "parite": "parity", "ip": "host",
    "address_ip": "host", "adresse_ip": "host", "hostname": "host", "server": "host", "user": "username",
    "login": "username",
    "period": "poll", "interval": "poll", "période": "poll", "lat": "latitude", "lon": "longitude", "lng": "longitude",
    "long": "longitude", "tz": "timezone", "pin": "from", "source": "from", "relay": "output",
    "éclairage": "lighting", "eclairage": "lighting", "eau": "water", "chauffage": "heating", "capteurs": "signals",
    "sensors": "signals", "appareils": "devices", "outputs": "actuators", "sorties": "actuators", "confort": "comfort",
    "réduit": "reduced", "reduit": "reduced", "nom": "name", "deveui": "dev_eui", "appkey": "app_key",
}  # fmt: skip
"""Keys by other programs' names, and in French."""
_UNITS = {
    "l": "L", "litre": "L", "litres": "L", "liter": "L", "liters": "L", "cubic metre": "m3", "mètre cube": "m3",
    "litres/heure": "L/h", "litre/heure": "L/h", "lph": "L/h", "lpm": "L/min", "l/mn": "L/min", "m3h": "m3/h",
    "sec": "s", "secs": "s", "second": "s", "seconds": "s", "seconde": "s", "secondes": "s",
    "mn": "min", "mins": "min", "minute": "min", "minutes": "min",
    "hour": "h", "hours": "h", "heure": "h", "heures": "h", "j": "d", "day": "d", "days": "d", "jour": "d",
    "jours": "d",
    "mo": "MB", "go": "GB", "ko": "kB", "o": "B", "mib": "MB", "gib": "GB",
    "celsius": "degC", "degré": "degC", "degrés": "degC", "degre": "degC", "degres": "degC", "deg": "degC",
    "watt": "W", "watts": "W", "kilowatt": "kW", "kilowatts": "kW", "volt": "V", "volts": "V", "ampere": "A",
    "amperes": "A", "ampère": "A", "ampères": "A", "amp": "A", "amps": "A", "hertz": "Hz", "percent": "%", "pct": "%",
    "pourcent": "%", "kwheure": "kWh", "kilowattheure": "kWh", "kilowattheures": "kWh", "kw/h": "kWh", "kwh/h": "kW",
    "m^3": "m3", "mètre": "m", "mètres": "m", "metre": "m", "metres": "m", "meter": "m", "meters": "m",
    "bars": "bar", "°": "degC", "luxes": "lx",
}  # fmt: skip


def day_meant(word: str) -> str | None:
    """`mon` for Monday, lundi, lun or LUN; None for what is no day."""
    return _DAY_NAMES.get(word.strip().rstrip(".").lower())


def days_meant(text: str) -> str | None:
    """`mon,tue` for what names days with commas, spaces, or as a range; None where one of them is no day."""
    if text.strip().lower() in _SPANS:
        return _SPANS[text.strip().lower()]
    found: list[str] = []
    for part in re.split(r"\s*[,;/+]\s*|\s+(?:et|and)\s+|\s+(?![-–àt])", text.strip()):
        ends = [day_meant(word) for word in re.split(r"\s*[-–]\s*|\s+(?:à|to)\s+", part)]
        days = [day for day in ends if day is not None]
        if not 1 <= len(days) == len(ends) <= 2:
            return None
        first, last = DAYS.index(days[0]), DAYS.index(days[-1])
        found += [DAYS[(first + step) % 7] for step in range((last - first) % 7 + 1)]
    return ",".join(dict.fromkeys(found)) or None


def time_meant(text: str) -> str | None:
    """`07:30` for 7:30, 7h30, 7.30, 07:30:00 or 7:30 pm; None for what is no time of day."""
    named = {"minuit": "00:00", "midnight": "00:00", "midi": "12:00", "noon": "12:00"}.get(text.strip().lower())
    if named is not None:
        return named
    match = re.fullmatch(
        r"""["'“”«»\s]*([0-9]{1,2})(?:\s*[h:.]\s*([0-9]{2})?(?::00)?)?\s*(am|pm)?["'“”«»\s]*""", text.strip().lower()
    )
    if match is None:
        return None
    hour, minute = int(match[1]), int(match[2] or 0)
    if match[3]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match[3] == "pm" else 0)
    hour = 0 if (hour, minute) == (24, 0) else hour
    return f"{hour:02}:{minute:02}" if hour < 24 and minute < 60 else None


def date_meant(text: str) -> str | None:
    """`2026-07-13` for 13/07/2026 or 13 juillet 2026; None for what is no date, or one that is not sure."""
    match = re.fullmatch(r"([0-9]{1,2})(?:er)?\s*([/.\- ])\s*([0-9]{1,2}|[^\W\d]+\.?)\s*\2?\s*([0-9]{4})", text.strip())
    other = re.fullmatch(r"([0-9]{4})[-/. ]?([0-9]{1,2})[-/. ]?([0-9]{1,2})", text.strip())
    if other is not None:
        year, month, day = int(other[1]), int(other[2]), int(other[3])
    elif match is not None:
        day, year = int(match[1]), int(match[4])
        month = int(match[3]) if match[3].isdigit() else _MONTHS.get(match[3].rstrip(".").lower(), 0)
    else:
        return None
    return f"{year:04}-{month:02}-{day:02}" if 1 <= month <= 12 and 1 <= day <= 31 else None


def key_meant(key: str, known: Iterable[str]) -> str | None:
    """The key of `known` that was meant by another program's name for it, or by a misspelt one."""
    known = list(known)
    found = _KEYS.get(key.lower())
    return found if found in known else nearest(key, known)


_DEGREES = re.compile(
    r"""([0-9.]+)\s*(?:°|deg)?\s*(?:([0-9.]+)\s*['’′]\s*)?(?:([0-9.]+)\s*(?:"|''|”|″)\s*)?([NSEWO])?""", re.IGNORECASE
)


def _degrees_meant(text: str) -> str | None:
    """`47.32` for 47°19'12"N, `-1.5` for 1.5 W; None where it says no minutes and no side."""
    match = _DEGREES.fullmatch(text.strip())
    if match is None or not (match[2] or match[4]) or any((match[n] or "0").count(".") > 1 for n in (1, 2, 3)):
        return None
    value = float(match[1]) + float(match[2] or 0) / 60 + float(match[3] or 0) / 3600
    return f"{-value if (match[4] or '').upper() in 'SWO' and match[4] else value:.6g}"


def number_meant(text: str) -> str | None:
    """`9600` for 9 600, 9600 bauds, "9600" or 960O; None where no number is in it."""
    degrees = _degrees_meant(text) if re.search("[°'’′NSEWnsew]", text) or "." in text else None
    if degrees is not None:
        return degrees
    digits = r"[-+]?[0-9OolI][0-9OolI\s\u00a0\u202f]*(?:[.,][0-9]+)?"
    match = re.fullmatch(rf"({digits})\s*(?:[^\W\d][^\d]*|[°%]\s*[CF]?|/[a-z]+)?", text)
    if match is None or not re.search("[0-9]", match[1]):
        return None
    return re.sub(r"[\s\u00a0\u202f]", "", match[1]).translate(str.maketrans("OolI,", "0011."))


def unit_meant(unit: str) -> str | None:
    """`L` for litres; None for a word that is not met."""
    return _UNITS.get(unit.strip().lower())


def word_meant(word: str, known: tuple[str, ...]) -> str | None:
    """The word of `known` that was meant by one in French, in other capitals, or misspelt."""
    lower = word.strip().lower()
    for found in (day_meant(lower), _WORDS.get(lower)):
        if found in known:
            return found
    return nearest(lower, known)
