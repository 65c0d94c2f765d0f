r"""Formats of an answer beside those of :mod:`~leash_ray.verify.extract`: LiveBench's tags and bold words, and phrases
that are looked at with what stands before and after them.

============ ========================================================================================================
bold         the last words between ``**`` or ``***``; several in a row, ``**yes**, **no**``, are one answer
phrase       what follows the last "answer is" or "answer:" that is neither a supposition nor taken back
last_line    the last line that is not empty
============ ========================================================================================================

What follows an answer may take it back (:func:`retracted`) or overrule it by another (:func:`last_statement`); see
:meth:`~leash_ray.verify.kinds.base.Kind.settled`.
"""

import re
from typing import NamedTuple

from leash_ray.verify.extract import last_match

_BOLD = re.compile(
    r"\*\*\*?[^*\n]+\*\*\*?"
    # Ends in its loop: nothing to go back to.
    r"(?:[ \t]{0,3}(?:,|/|,?[ \t](?:and|or|vs\.?|versus)[ \t])?[ \t]{0,3}\*\*\*?[^*\n]+\*\*\*?)*"
)
_STARS = re.compile(r"\*\*\*?")
_STATEMENT = re.compile(
    r"\b(?:answer|(?:correct|right|best) (?:option|choice|letter))\b(?: to (?:the|this) (?:question|problem))?"
    r"(?:\*{1,3}|__?)?[ \t]{0,3}"
    r"(?:(?:,? (?:then|therefore|thus),?\s)?(?:(?:would|should|must) be|is|equals)\b|:|=)"
    r"(?:\*\*(?=\s))?[ \t]{0,3}(?:therefore\b|thus\b|:)?"
    r"|^[*_#> \t]{0,9}ans(?:\.(?=\s)|(?:\*\*)?:(?:\*\*)?)[ \t]{0,3}",
    re.IGNORECASE | re.MULTILINE,
)
# What stands right before, in the same sentence: a supposition, or an answer that is called wrong.
_SUPPOSED = re.compile(
    r"\b(?:if|suppos\w{1,4}|assum\w{1,4}|whether|unless|doubt\w{0,3}|cannot say|not (?:think|believe)|no way"
    r"|unlikely|improbable|far from)\b[^.!?\n]*\Z"
    r"|n['’]t (?:think|believe)\b[^.!?\n]*\Z"
    r"|\b(?:might|may|could) (?:say|think|argue|guess|expect)\b[^.!?\n]*\Z"
    r"|\b(?:some|many|most|people|students?|every(?:one|body)|others|they)\b(?: \w{1,15}){0,2}"
    r" (?:say|think|argue|believe|claim|guess|expect)s?\b"
    r"[^.!?\n]*\Z"
    r"|\b(?:wrong|incorrect|false|tempting|naive|trap|previous|initial|possible|alternative|student's|least \w{1,15}"
    r"|not (?:the|an|my)) \Z"
    r"|(?<!most )\bplausible \Z",
    re.IGNORECASE,
)
# What stands right before where nothing else is meant than the answer that was asked for.
_PLAIN = re.compile(
    r"(?:\A|[^\w\s'’-]|\n|(?<![\w-])(?:the|my|our|your|its?|an?|this|that|and|so|thus|hence|then|therefore|finally"
    r"|overall|is|as|final|correct|right|best|actual|true|real|only|single|exact|required|desired|expected|numerical"
    r"|numeric|simplified|complete|full|short|quick|direct|brief|concise|clear|proper|boxed|valid|verified|logical|likely"
    r"|probable|plausible|appropriate|accurate|suitable|reasonable|predicted|suggested|closest|nearest|approximate"
    r"|rounded|corresponding|resulting|choice|letter|integer|decimal|general|same))[\s*_#]*\Z",
    re.IGNORECASE,
)
_BEFORE_CHARS = 60
_BEFORE_WOULD_CHARS = 240


class Statement(NamedTuple):
    """What a text says its answer is."""

    said: str
    """The rest of the line, or the next line that is not empty."""
    retracted: bool
    """Whether the text after it, to its end, may take it back."""
    start: int
    """Where the phrase begins in the text."""
    ended: bool
    """Whether anything follows the line, so that it was not cut."""
    end: int
    """Where what is said ends in the text."""
    unusual: bool = False
    """Whether the word before it is none of those that are said of an answer: "the second answer is" may be another
    one."""


def last_bold(text: str) -> "re.Match[str] | None":
    """The last words in bold, with those that they are listed with; None if there are none."""
    return last_match(_BOLD, text)


def without_stars(text: str) -> str:
    """Bold words without the marks."""
    return _STARS.sub("", text)


def last_statement(text: str) -> Statement | None:
    """The last phrase that states an answer; None if there is none."""
    found = None
    for match in _STATEMENT.finditer(text):
        reach = _BEFORE_WOULD_CHARS if "would" in match[0].lower() else _BEFORE_CHARS
        before = text[max(0, match.start() - reach) : match.start()]
        spoken_of = found is not None and _OF_AN_ANSWER.match(text, match.end())  # "this answer is obtained by"
        if not spoken_of and not _SUPPOSED.search(before):
            found = match
    if found is None:
        return None
    line, newline, after = text[found.end() :].partition("\n")
    if not line.strip(" \t*_:$"):  # "The answer is:", and then a line of its own
        line, newline, after = _OPENS.sub("", after, count=1).partition("\n")
    end = len(text) - len(newline) - len(after)
    unusual = not _PLAIN.search(text[max(0, found.start() - _BEFORE_CHARS) : found.start()])
    taken_back = retracted(line) or retracted(f"\n{after}") or another_line(line, after)
    return Statement(line.strip(), taken_back, found.start(), bool(newline), end, unusual)


_OPENS = re.compile(r"\A\s*(?:(?:```\w{0,12}|\$\$|\\\[)[ \t]*\n\s*)?")


_CONCLUSION = re.compile(
    r"(?:\A|[.!?:]\s|\n)\s{0,9}[*_]{0,3}(?:(?:so|thus|hence|therefore|final(?:ly)?|in conclusion|overall|in fact"
    r"|round(?:ed|ing)(?: \w{1,9})?"
    r"|result(?=:)|edit(?=:)|update(?=:)|total(?=:)|value(?=:)|solution(?=:)|output(?=:))\b|####)"
    r"[,:]?[*_]{0,3}\s{0,3}(?:(?:it(?:'s|’s| is| must be)|we (?:get|have|find|obtain|conclude)|this (?:is|gives)|i get)"
    r"\s)?"
    r"(?P<said>[^\n]{1,60}?)(?=[.!]?(?:\s{0,3}\n|\s{0,3}\Z)|[.!]\s)",
    re.IGNORECASE,
)
_NAMED_ANSWER = re.compile(
    r"(?P<said>[^\s,;:]{1,30})[\s$*]{1,4}(?:is|was|as|must be|seems) (?:indeed |then |actually )?(?:the|my|our) "
    r"(?:\w{1,10} )?(?:answer|result|choice|option)\b",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"[^\w]{0,4}(?:[A-Za-z]\w{0,5}\s?=\s?)?(?:[A-Z]|\S{0,20}\d\S{0,20}(?:\s[A-Za-z°%]\S{0,11})?)[^\w]{0,4}"
)


def is_value(line: str) -> bool:
    """Whether a line is nothing but a number, perhaps with a unit or a name, or a capital letter."""
    return _VALUE.fullmatch(line.strip()) is not None


_OF_A_LAYOUT = re.compile(r"\s*(?:(?:```\w{0,12}|\$\$|\\[\[\]])[ \t]*(?:\n\s*|\Z))*")


def another_line(said: str, after: str) -> bool:
    """Whether the line that follows an answer's is another value: rows of one answer, or a second one."""
    start = _OF_A_LAYOUT.match(after)
    line = after[start.end() if start else 0 :].partition("\n")[0].strip()
    if not line or not _VALUE.fullmatch(line):
        return False
    one, other = said.strip(_AROUND), line.strip(_AROUND)
    return one != other and not (one and "=" in other and other.endswith(one))


_AROUND = " \t$*_`.,;:()[]\\"


def last_conclusions(text: str) -> list[str]:
    """What sentences say that conclude without the word answer, "So it is 6.", or name it last, "6 is the answer"."""
    found = [match["said"] for match in (last_match(_CONCLUSION, text), last_match(_NAMED_ANSWER, text)) if match]
    return [said for said in found if _VALUE.fullmatch(said)]


_CONNECTIVE = re.compile(
    r"[\s*_#>]{0,9}(?:(?:so|thus|hence|therefore|finally|result(?=\s?:)|solution(?=\s?:))\b|#{4}(?=\s))\s?[,:]?[*_]{0,3}\s{1,3}"
    r"(?=\S)",
    re.IGNORECASE,
)
_PREFACE = re.compile(
    r"\s*(?:(?:so|thus|hence|therefore),?\s{1,3})?(?:(?:the|my|our)\s{1,3})?(?:(?:final|correct)\s{1,3})?answers?"
    r"(?:\s{1,3}(?:is|are)\b\s?:?|\s?:)\s*(?=\S)",
    re.IGNORECASE,
)


def without_connective(line: str) -> str:
    """A line without a word that only leads to what it says: "Therefore, x = 5", "Result: 5", ``#### 5``."""
    return _CONNECTIVE.sub("", line, count=1) if _CONNECTIVE.match(line) else line


def without_preface(said: str) -> str:
    """A marked answer without the words that call it one: "The answer is 5"."""
    found = _PREFACE.match(said)
    return said[found.end() :] if found else said


def last_lines(text: str, n: int) -> list[str]:
    """The last ``n`` lines that are not empty, the very last first."""
    lines: list[str] = []
    end = len(text)
    while end > 0 and len(lines) < n:
        start = text.rfind("\n", 0, end) + 1
        if line := text[start:end].strip():
            lines.append(line)
        end = start - 1
    return lines


_SUBJECT = (
    r"(?:that|this|it|which|i|(?:the|my|this|that|our) (?:\w{1,20} ){0,2}"
    r"(?:answer|result|value|solution|calculation|computation|choice|box|work|above|one))"
)
_TAKEN_BACK = re.compile(
    r"\b(?:wait|hold on|actually|(?:scratch|strike) that|never ?mind|oops|sorry|apolog\w{1,6}|correction|hmm+"
    r"|(?:up)?on (?:second thoughts?|(?:\w{1,12} )?reflection)|(?:made|was|is|'s) an? (?:\w{1,20} )?(?:mistake|error)"
    r"|my (?:mistake|error|bad)|reconsider|not (?:sure|certain)|unsure|unclear"
    r"|(?:can ?not|can't|could not|couldn't) (?:decide|tell|determine)"
    r"|(?:could|might|may) (?:also|well|both|all) be|or (?:maybe|perhaps|possibly|rather|else)|(?:do not|don't) know"
    r"|also (?:be )?(?:possible|correct|right|valid|plausible)|both (?:could|may|might|are|seem)|no idea"
    r"|(?:fits?|match(?:es)?|is|are|seems?|works?) better"
    r"|alternatively,? \S{1,12}\s{0,3}(?:\n|\Z)"
    r"|it should (?:\w{1,20} )?be(?! (?:noted|mentioned|clear|emphasi\w{1,4}|stressed|remembered))|should have been"
    r"|(?:answer|value|result) should (?:\w{1,20} )?be|instead(?! of)"
    r"|i (?:prefer|meant?|take (?:it|that|this) back|retract|withdraw|change)"
    r"|i(?:'d|'ll| would| will| must)? (?:\w{1,20} )?(?:go with|choose|pick|chang(?:e|ing) my)"
    r"|changed? my (?:mind|answer)"
    r"|revis(?:e|ed|ing|ion)"
    r"|(?:ignore|disregard|forget|correct|fix) (?:that|this|it|my|the (?:above|previous|box|answer))"
    rf"|{_SUBJECT}(?: is|'s| was| am| seems| looks| must be)(?:n't)? (?:\w{{1,20}} )?"
    r"(?:wrong|incorrect|mistaken|impossible|false|not (?:quite )?(?:right|correct|true|possible|valid))"
    rf"|{_SUBJECT} (?:can ?not|can't) be(?: right| correct| true|[,.;!\n]|\Z)"
    rf"|{_SUBJECT} (?:isn't|wasn't) (?:right|correct|true)"
    r"|(?:that|this|it|which) (?:(?:does not|doesn't|did not|didn't) (?:match|work|fit|satisfy|check|add|hold"
    r"|make sense)|fail(?:s|ed)(?! to))"
    r"|(?:but|however),? (?:\w{1,20} ){0,3}contradict\w{0,4})(?![A-Za-z])"
    r"|(?:\A\s{1,5}|[.!?\n(]\s{0,5}|\b(?:oh|but|ah|ok|okay),? )(?:no|nope)[,.!:]"
    r"|\bbut (?:the|this) (?:question|problem) (?:asks|wants|is asking)\b",
    re.IGNORECASE,
)
# Right behind the answer: another one.
_ALTERNATIVE = re.compile(
    r"(?:[\s$*_)\]}.,;]|\\text\s?\{|\\[;,:! ]|\\quad){0,9}"
    r"(?:or\b(?!\s{1,3}so\s{0,3}[.!]?\s{0,3}\Z)|and\s{1,3}(?=[\d$\\(*\"'+-]|[A-Z]\b))"
    r"|[\s$*_)\]}]{0,9}/\s?\S"
    r"|[ \t$*_)\]}]{0,9}[,;][ \t]{0,3}(?-i:[A-Z][\w'-]{0,19}|\S{0,10}\d\S{0,10})[ \t.]{0,5}(?:\n|\Z)",
    re.IGNORECASE,
)
_CHECKS_AGAIN = re.compile(r"\bre-?(?:check|do|think|verif|calculat|comput|evaluat|examin)\w{0,4}\b", re.IGNORECASE)
_CONFIRMED = re.compile(
    r"\b(?:yes|indeed|confirm\w{0,3}|checks out"
    r"|(?:is|are|was|looks|seems) (?:indeed |still )?(?:correct|right|consistent))\b",
    re.IGNORECASE,
)


def retracted(after: str) -> bool:
    """Whether the text after an answer takes it back, or may do so. Errs on the side of yes: "wait" and "actually" do,
    whatever follows, and so does checking again without saying that it is right."""
    after = after.replace("’", "'")
    if _TAKEN_BACK.search(after) or _ALTERNATIVE.match(after):
        return True
    again = last_match(_CHECKS_AGAIN, after)
    return again is not None and not _CONFIRMED.search(after, again.end())


_NEW_TURN = re.compile(
    r"\n\s{0,9}(?:#{1,4} ?|\*\*|<\|\w{1,20}\|>)?(?:user|human|question|problem|instruction|q)(?: \d{1,4})?(?:\*\*)?:"
    r"|<\|im_start\|>",
    re.IGNORECASE,
)


_HEADING = r"\n\s{0,9}(?:#{1,4} ?|\*\*)?"
_NEXT_TURN = re.compile(
    rf"{_HEADING}(?:(?P<chat>user|human)|question|problem|instruction|q)(?:\*\*)?:"
    r"|(?P<special>(?:<\|im_start\|>|<\|start_header_id\|>)\s{0,3}user\b|<\|user\|>)",
    re.IGNORECASE,
)
_ITS_ANSWER = re.compile(rf"{_HEADING}(?:answer|solution|response|a)(?:\*\*)?:", re.IGNORECASE)


def first_turn(text: str) -> str | None:
    """What a text says before a model that ran on makes up another user's turn, or another question and its answer,
    with the headings of few-shot prompts; None where it does neither."""
    found = _NEXT_TURN.search(text)
    if found is None or not (found["chat"] or found["special"] or _ITS_ANSWER.search(text, found.end())):
        return None
    return text[: found.start()]


def same_turn(after: str) -> str:
    """``after`` up to where a model that ran on makes up its next question: that says nothing of this answer."""
    found = _NEW_TURN.search(after)
    return after[: found.start()] if found else after


_OF_AN_ANSWER = re.compile(
    r"\W{0,4}(?:(?:indeed|therefore|thus|also|clearly|now|still|hence) ){0,2}"
    r"(?:correct|right|verified|confirmed|consistent|reasonable|valid|as (?:above|before|given|boxed|shown)"
    r"|in (?:the|its) |given (?:above|in)|above|boxed|shown|based on|obtained|derived|found (?:by|above)|exact|unique"
    r"|complete|clear|simplified|already)\b",
    re.IGNORECASE,
)


def states(statement: Statement) -> bool:
    """Whether a statement gives an answer, and does not only speak of one: "the answer is correct"."""
    return bool(statement.said) and not _OF_AN_ANSWER.match(statement.said)
