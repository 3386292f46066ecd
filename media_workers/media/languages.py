"""Language tags: what containers say, as the shortest BCP 47 tag, and a name a viewer can choose by.

ISO 639-2 has two codes for some languages (`ger` and `deu`); BCP 47 wants the two-letter code where there is
one (RFC 5646, section 2.2.1).
"""

import re

UNCODED = "mis"
"""ISO 639's code for a language without a code: packagers refuse "und"."""

# Two letters, the terminology code, the bibliographic one where it differs, the name.
_TABLE = """
af afr Afrikaans|am amh Amharic|ar ara Arabic|az aze Azerbaijani|be bel Belarusian|bg bul Bulgarian
bn ben Bengali|bs bos Bosnian|ca cat Catalan|cs ces cze Czech|cy cym wel Welsh|da dan Danish
de deu ger German|el ell gre Greek|en eng English|eo epo Esperanto|es spa Spanish|et est Estonian
eu eus baq Basque|fa fas per Persian|fi fin Finnish|fr fra fre French|ga gle Irish|gl glg Galician
gu guj Gujarati|he heb Hebrew|hi hin Hindi|hr hrv Croatian|hu hun Hungarian|hy hye arm Armenian
id ind Indonesian|is isl ice Icelandic|it ita Italian|ja jpn Japanese|ka kat geo Georgian|kk kaz Kazakh
km khm Khmer|kn kan Kannada|ko kor Korean|la lat Latin|lo lao Lao|lt lit Lithuanian|lv lav Latvian
mk mkd mac Macedonian|ml mal Malayalam|mn mon Mongolian|mr mar Marathi|ms msa may Malay|mt mlt Maltese
my mya bur Burmese|nb nob Norwegian Bokmål|ne nep Nepali|nl nld dut Dutch|nn nno Norwegian Nynorsk
no nor Norwegian|pa pan Punjabi|pl pol Polish|ps pus Pashto|pt por Portuguese|ro ron rum Romanian
ru rus Russian|si sin Sinhala|sk slk slo Slovak|sl slv Slovenian|so som Somali|sq sqi alb Albanian
sr srp Serbian|sv swe Swedish|sw swa Swahili|ta tam Tamil|te tel Telugu|th tha Thai|tl tgl Tagalog
tr tur Turkish|uk ukr Ukrainian|ur urd Urdu|uz uzb Uzbek|vi vie Vietnamese|zh zho chi Chinese|zu zul Zulu
"""


def _read_table() -> tuple[dict[str, str], dict[str, str]]:
    shortest: dict[str, str] = {}
    names: dict[str, str] = {}
    for row in _TABLE.replace("\n", "|").split("|"):
        words = row.split()
        codes = [word for word in words if word.isascii() and word.islower()]
        if codes:
            names[codes[0]] = " ".join(words[len(codes) :])
            shortest |= dict.fromkeys(codes, codes[0])
    return shortest, names


_SHORTEST, _NAMES = _read_table()
# Language, then script and region where they are said: what subtitles and dubs are told apart by.
_TAG = re.compile(r"([a-z]{2,3})(?:-([a-z]{4}))?(?:-([a-z]{2}|\d{3}))?", re.IGNORECASE)


def language_tag(text: str | None) -> str:
    """The shortest tag for what a container says ("ger" -> "de", "pt_br" -> "pt-BR"); else `UNCODED`.

    Nothing that a stranger typed passes: a tag has letters, digits and hyphens.
    """
    found = _TAG.fullmatch((text or "").strip().replace("_", "-"))
    if found is None:
        return UNCODED
    language, script, region = found.groups()
    language = _SHORTEST.get(language.lower(), language.lower())
    if language in {"und", UNCODED, "mul", "zxx"}:
        return language if language in {"mul", "zxx"} else UNCODED
    parts = (language, script.title() if script else None, region.upper() if region else None)
    return "-".join(part for part in parts if part)


def language_name(tag: str, unknown: str) -> str:
    """A name for a tag: "German", "Portuguese (BR)"; `unknown` for a language without a code.

    Args:
        tag: from `language_tag`.
        unknown: what the track is called when nobody knows its language, such as "Audio".
    """
    if tag in {UNCODED, "mul", "zxx"}:
        return unknown
    language, _, rest = tag.partition("-")
    name = _NAMES.get(language, language)
    return f"{name} ({rest})" if rest else name


def distinct(names: list[str]) -> list[str]:
    """The names, numbered where several are alike: "English", "English 2"."""
    result: list[str] = []
    for name in names:
        number, chosen = 1, name
        while chosen in result:
            number += 1
            chosen = f"{name} {number}"
        result.append(chosen)
    return result
