"""What the text after an answer makes of it: nothing, another answer, or a doubt that takes it back."""

import re

from leash_ray.verify.math.beside import denied
from leash_ray.verify.math.number import canonical_number
from leash_ray.verify.math.sentences import (
    CONCLUDES,
    DOUBT,
    MAX_LINE,
    SENTENCE_END,
    VALUE,
    bare,
    conclusion,
    first_sentence,
    last_stated,
    value_stated,
)
from leash_ray.verify.statements import last_lines, retracted, same_turn


def second_thoughts(after: str, answer: str) -> str | bool:
    """What the text after a marked answer makes of it.

    Returns:
        False: it stands; True: it is taken back, or may be; else the other answer that is stated in its place.
    """
    after = same_turn(after)
    if not after.strip():
        return False
    stated = last_stated(after)
    if stated is not None:
        if stated.retracted:
            return True
        value = value_stated(stated.said)
        if value and not _is_remark(stated.said):
            return False if _repeats(stated.said, value, answer) else value
    if denied(after) or retracted(after):
        return True
    return concludes_another(after, answer)


def concludes_another(text: str, answer: str) -> bool:
    """Whether the last line is another value, or its last sentence concludes with values that are not the answer."""
    line = (last_lines(text, 1) or [""])[0].replace("**", "").strip()
    if not line or len(line) > MAX_LINE:
        return False
    same = bare(answer)
    if canonical_number(alone := bare(line.lstrip("= ") if "\n" in text else line)) is not None:
        return alone != same
    sentence = ["", *(part for part in SENTENCE_END.split(line) if part.strip())][-1].strip(" \n.,;:)}")
    if _REFUSES.search(sentence):
        return True
    if not _AFTERTHOUGHT.match(sentence) and (not _CLAIMS.search(sentence) or _NO_CLAIM.search(sentence)):
        return False
    values = {bare(found) for found in _VALUES.findall(sentence)} | {bare(f) for f in _FORMULAS.findall(sentence)}
    concluded = conclusion(sentence)
    return bool(values or concluded) and same not in values and (concluded is None or bare(concluded) != same)


_CLAIMS = re.compile(
    rf"\A{CONCLUDES.pattern}|\b(?:it's|it is|that's|(?:should|could|might|may) be|maybe"
    r"|(?:correct|actual|true|real|final|right) \w+ is|is (?:the|our|my) (?:\w+ )?answer)\b"
    r"|\A(?:alternatively|however|but|yet|then|rather|update|ans|the (?:result|value|total|sum|solution))\b",
    re.IGNORECASE,
)
_AFTERTHOUGHT = re.compile(
    r"(?:after|upon|on) (?:\w{1,12} ){0,2}?(?:re-?)?"
    r"(?:check|think|comput|calculat|consider|correct|review|examin|reflect)\w{0,5},",
    re.IGNORECASE,
)
_REFUSES = re.compile(
    r"\b(?:whoops|(?:this|that|it|which) contradicts|(?:is|are|was) (?:wrong|incorrect|not (?:correct|right|valid)))\b",
    re.IGNORECASE,
)
_NO_CLAIM = re.compile(r"\b(?:about|approximately|roughly|around|check\w*|verif\w+)\b|≈|\\approx", re.IGNORECASE)
_VALUES = re.compile(r"\\[dt]?frac\s?\{[0-9]+\}\s?\{[0-9]+\}|(?<![0-9.])[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+)?")
_FORMULAS = re.compile(r"\$([^$]{1,80})\$")


_REMARK = re.compile(
    r"[\s*_:]*(?:(?:indeed|therefore|thus|also|clearly|now) )?(?:correct|right|verified|confirmed|valid|reasonable"
    r"|consistent|complete|boxed|unique|exact|as (?:above|boxed|shown|stated|given|required|expected)|in|given|shown"
    r"|expressed|written|simplified|already|fully|an?|the)\b",
    re.IGNORECASE,
)
_DIFFERS = re.compile(
    rf"{DOUBT.pattern}|\b(?:different|off|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b",
    re.IGNORECASE,
)


def _is_remark(said: str) -> bool:
    """Whether "the answer is ..." only says something about the answer: correct, an integer, in simplest form."""
    sentence = first_sentence(said[:MAX_LINE])
    if re.search(r"[0-9\\$=]", sentence) or _DIFFERS.search(sentence):
        return False
    return bool(_REMARK.match(sentence)) or len(sentence.split()) > 3


def _repeats(said: str, value: str, answer: str) -> bool:
    """Whether a statement says the same answer again, perhaps with a reason behind it."""
    if bare(value) == (same := bare(answer)):
        return True
    sentence = first_sentence(said)
    again = _AGAIN.match(sentence)
    return bool(again and bare(again["value"]) == same and not DOUBT.search(sentence[again.end() :]))


_AGAIN = re.compile(rf"{VALUE}\s*(?:,|\(|as\b)")
