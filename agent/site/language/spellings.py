"""Other spellings of the site file's words, and the right ones: `lundi` is `mon`.

They serve hints only: a file with such a word is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from agent.lib.suggestion import nearest

__all__ = [
    "DAYS", "PLACES", "date_meant", "day_meant", "days_meant", "duration_meant", "key_meant", "number_meant", "spell",
    "time_meant", "ungrouped", "unit_meant", "whole_meant", "word_meant", "words_meant",
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
    "yes": "on", "oui": "on", "marche": "on", "allumé": "on", "true": "on", "vrai": "on", "no": "off", "non": "off",
    "arrêt": "off", "arret": "off", "éteint": "off", "false": "off", "faux": "off", "nc": "normally_closed",
    "nf": "normally_closed", "no_contact": "normally_open", "normalement fermée": "normally_closed",
    "normalement fermé": "normally_closed", "normalement ouverte": "normally_open",
    "normalement ouvert": "normally_open", "compteur": "counter",
}  # fmt: skip
_KEYS = {
    "ip": "host", "address_ip": "host", "adresse_ip": "host", "hostname": "host", "server": "host",
    "user": "username", "login": "username", "period": "poll", "interval": "poll", "période": "poll",
    "lat": "latitude", "lon": "longitude", "lng": "longitude", "long": "longitude", "tz": "timezone", "pin": "from",
    "source": "from", "relay": "output", "capteurs": "signals", "sensors": "signals", "appareils": "devices",
    "outputs": "actuators", "sorties": "actuators", "nom": "name", "protocole": "type", "protocol": "type",
    "hôte": "host", "hote": "host", "délai": "timeout", "delai": "timeout", "scrutation": "poll",
    "fréquence": "poll", "frequence": "poll", "échelle": "scale", "echelle": "scale", "poids": "per_pulse",
    "impulsion": "per_pulse", "impulsions": "per_pulse", "index": "initial_index", "sortie": "output",
    "retour": "feedback", "jours": "days", "de": "from", "du": "from", "décalage": "offset", "decalage": "offset",
    "fuseau": "timezone", "utilisateur": "username", "mot_de_passe": "password", "mdp": "password",
}  # fmt: skip
"""Keys by other programs' names, and in French. """
_OWN_KEYS: dict[str, dict[str, None]] = {}
"""The spellings of the keys of services and drivers."""
PLACES = (
    "gps", "position", "coordinates", "coordonnées", "coordonnees", "location", "lieu", "lat_lon", "latlon", "latlng"
)  # fmt: skip
"""Keys that hold latitude and longitude at once elsewhere."""
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


def spell(keys: Mapping[str, str], words: Mapping[str, str] | None = None) -> None:
    """Add other spellings of a service's or a driver's keys, and of the words that are their values.

    One spelling may mean several keys: the one that is allowed in its place is meant.
    """
    for other, key in keys.items():
        _OWN_KEYS.setdefault(other, {})[key] = None
    for other, word in (words or {}).items():
        _WORDS.setdefault(other, word)


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
    lower = key.lower()
    meant = [_KEYS.get(lower), *_OWN_KEYS.get(lower, ())]
    return next((one for one in meant if one in known), None) or nearest(key, known)


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


_DIGIT = "(?:[0-9OoI]|l(?=[0-9]))"
_GROUPED = re.compile(r"[-+]?[0-9]{1,3}(?:[\s\u00a0\u202f'’][0-9]{3})+(?![0-9])")
"""A number with its thousands apart, as it is printed."""


def number_meant(text: str) -> str | None:
    """`9600` for 9 600, 9600 bauds, "9600" or 960O; None where no number is in it."""
    degrees = _degrees_meant(text) if re.search("[°'’′NSEWnsew]", text) or "." in text else None
    if degrees is not None:
        return degrees
    text = re.sub(r"(?<=[0-9])(?:\.\s+|;\s*)(?=[0-9])", ".", text)
    digits = rf"[-+]?{_DIGIT}*[0-9]{_DIGIT}*(?![^\W\d_]|/)(?:[.,][0-9]+)?|[-+]?[0-9]+(?:[.,][0-9]+)?"
    parts = r"[-+]?[0-9]{1,3}(?:\.[0-9]{3}){2,}"
    match = re.fullmatch(
        rf"({_GROUPED.pattern}(?:[.,][0-9]+)?|{parts}|{digits})\s*(?:[^\W\d][^\d]*|[°%]\s*[CF]?|/[a-z]+)?", text
    )
    if match is None:
        return None
    found = re.sub(r"[\s\u00a0\u202f'’]", "", match[1]).translate(str.maketrans("OolI,", "0011."))
    return found.replace(".", "") if found.count(".") > 1 else found


def whole_meant(text: str) -> str | None:
    """`9600` for 9.600, whose point sets thousands apart, and for 9600.0; None for what is no whole number."""
    if re.fullmatch(r"[-+]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+", text):
        return text.replace(".", "")
    match = re.fullmatch(r"([-+]?[0-9]+)\.0*", text)
    return match[1] if match is not None else None


def ungrouped(text: str) -> str | None:
    """`1800 W` for 1 800 W; None where no thousands stand apart."""
    match = _GROUPED.match(text.strip())
    return None if match is None else re.sub(r"[\s'’]", "", match[0]) + text.strip()[match.end() :]


def duration_meant(text: str) -> str | None:
    """`90min` for 1h30, `15h` for 15h00, `10min` for 10', `10s` for "toutes les 10 s"; None for what is no duration."""
    told = re.sub(r"^(?:tou(?:te)?s les|chaque|every|pendant|for)\s+", "", text.strip().lower()).rstrip(".")
    if match := re.fullmatch(r"([0-9]+)\s*h\s*([0-9]{1,2})\s*(?:min|mn|m|')?", told):
        hours, rest = int(match[1]), int(match[2])
        return f"{60 * hours + rest}min" if rest else f"{hours}h"
    if match := re.fullmatch(r"""([0-9]+)\s*(?:min|mn|m|')\s*([0-9]{1,2})\s*(?:s|sec|"|'')?""", told):
        parts, rest = int(match[1]), int(match[2])
        return f"{60 * parts + rest}s" if rest else f"{parts}min"
    if match := re.fullmatch(r"""([0-9]+)\s*(''|["”″]|['’′])""", told):
        return f"{match[1]}{'min' if match[2] in ('’', '′', chr(39)) else 's'}"
    match = re.fullmatch(r"([0-9.]+)\s*([a-zé]+)", told)
    unit = match and (match[2] if match[2] in ("ms", "s", "min", "h", "d") else unit_meant(match[2]))
    return f"{match[1]}{unit}" if match and unit in ("ms", "s", "min", "h", "d") else None


def unit_meant(unit: str) -> str | None:
    """`L` for litres; None for a word that is not met."""
    return _UNITS.get(unit.strip().lower())


def words_meant(word: str) -> list[str]:
    """Keys that a word in French, or in other capitals, may stand for anywhere in the file; none for another word."""
    lower = word.strip().lower()
    return [one for one in (_WORDS.get(lower), lower) if one]


def word_meant(word: str, known: tuple[str, ...]) -> str | None:
    """The word of `known` that was meant by one in French, in other capitals, or misspelt."""
    lower = word.strip().lower()
    said = _WORDS.get(lower.replace("_", " "), _WORDS.get(lower))
    said = "normally_open" if lower == "no" and "normally_open" in known else said
    begun = [one for one in known if len(lower) > 3 and one.startswith(f"{said or lower}_")]
    for found in (day_meant(lower), said, begun[0] if len(begun) == 1 else None):
        if found in known:
            return found
    return nearest(lower, known)
