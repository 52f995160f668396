"""How a word that a dictionary lacks is said, in the dictionary's own phones."""

from __future__ import annotations

import re

from synesthete.data.speech.espeak import Espeak
from synesthete.types import InputError

# The engine's phonetic alphabet of American English, as the phones of CMUdict; longer ones first, as they are tried.
PHONES = {
    "a^ʊɚ": "AW ER",
    "a^ɪ^ɚ": "AY ER",
    "ɪ^ɹ": "IH R",
    "ɛ^ɹ": "EH R",
    "ʊ^ɹ": "UH R",
    "ɑː^ɹ": "AA R",
    "ɔː^ɹ": "AO R",
    "a^ɪ": "AY",
    "a^ʊ": "AW",
    "e^ɪ": "EY",
    "o^ʊ": "OW",
    "ɔ^ɪ": "OY",
    "ə^l": "AH L",
    "t^ʃ": "CH",
    "d^ʒ": "JH",
    "iː": "IY",
    "uː": "UW",
    "ɑː": "AA",
    "ɔː": "AO",
    "ɜː": "ER",
    "oː": "AO",
    "i": "IY",
    "ɪ": "IH",
    "ᵻ": "IH",
    "ɛ": "EH",
    "æ": "AE",
    "a": "AA",
    "ʌ": "AH",
    "ɐ": "AH",
    "ə": "AH",
    "ʊ": "UH",
    "ɔ": "AO",
    "ɚ": "ER",
    "ɾ": "T",
    "ʔ": "T",
    "n̩": "AH N",
    "ŋ": "NG",
    "θ": "TH",
    "ð": "DH",
    "ʃ": "SH",
    "ʒ": "ZH",
    "ɹ": "R",
    "j": "Y",
    "ɡ": "G",
    "h": "HH",
    **{letter: letter.upper() for letter in "bdfklmnpstvwz"},
}
_PHONE = re.compile("|".join(map(re.escape, PHONES)))
_UNSPOKEN = re.compile("[ˈˌ ]")


def phones_of(word: str) -> str | None:
    """The phones of an English word by the speech engine's rules, such as "D UW G AO NG".

    None of what is no word (other than small letters, or no vowel), of a sound that CMUdict has no phone for, and where
    there is no engine.
    """
    if not re.fullmatch(r"[a-z']*[aeiouy][a-z']*", word):
        return None
    try:
        said = _UNSPOKEN.sub("", Espeak().phonemes(word))
    except InputError:
        return None
    found = _PHONE.findall(said)
    return " ".join(PHONES[one] for one in found) if "".join(found) == said else None
