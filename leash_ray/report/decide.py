"""Which way a comparison points, and whether its data decide that.

A direction is decided where the interval of its change lies on one side of 0 and, for reach, chance alone (the label
null's p_net) would rarely move as much. Where an object has neither, the estimates are taken as they are, and a caution
says so.
"""

from dataclasses import dataclass

from leash_ray.report.read import UNITS, Support, both, curve, estimate, number
from leash_ray.report.text import count, rate

KINDS = {"problem": ("problem", "problems"), "answer": ("correct answer", "correct answers")}


@dataclass(frozen=True, slots=True)
class Reach:
    """What became of one unit's reach."""

    unit: str
    gained: float
    lost: float
    decided: bool | None
    """None: there is nothing to decide it by."""

    @property
    def way(self) -> str:
        """expanded, shrank, exchanged (as much gained as lost) or kept (nothing changed), by the estimates."""
        if self.gained == self.lost:
            return "exchanged" if self.gained else "kept"
        return "expanded" if self.gained > self.lost else "shrank"

    @property
    def open(self) -> bool:
        """There is a direction, and the data do not decide it."""
        return self.decided is False and self.way in ("expanded", "shrank")

    @property
    def balance(self) -> str:
        """``, on balance`` where some went the other way."""
        return ", on balance" if min(self.gained, self.lost) > 0 and self.gained != self.lost else ""

    def __str__(self) -> str:
        """Such as "4 problems gained against 11 lost"."""
        one, many = KINDS[self.unit]
        return f"{count(self.gained)} {one if self.gained == 1 else many} gained against {count(self.lost)} lost"


def reach(support: Support, unit: str) -> Reach | None:
    """None where it was not counted."""
    gained, lost = (number(support, "support", unit, group) for group in "ES")
    if gained is None or lost is None:
        return None
    sign = estimate(support.get("support", {}).get(unit), "NSCR").sure_sign
    p = number(support, "support", unit, "null", "p_net")
    level = 1 - (number(support, "confidence") or 0.95)
    decided = None if sign is None else sign != 0 and (p is None or p <= level + 1e-12)
    return Reach(unit, gained, lost, decided)


def pass_direction(support: Support, k: int) -> str | None:
    """rose, fell, same or open (not decided); None where it is not defined. A change too small to print is none."""
    base, trained, change = both(support, "pass_at_k", str(k))
    if base.value is None or trained.value is None:
        return None
    if rate(base.value) == rate(trained.value):
        return "same"
    if change.sure_sign == 0:
        return "open"
    return "rose" if trained.value > base.value else "fell"


def sharpened(support: Support) -> str | None:
    """The direction of pass@1."""
    return pass_direction(support, 1) if 1 in curve(support, "base") else None


def headline(sharp: str | None, by_problem: Reach | None, by_answer: Reach | None) -> str:
    """The answer in one sentence."""
    main = by_problem if by_problem is not None else by_answer
    if main is not None and main.open:
        said = _open(sharp, main)
    else:
        said = _decided(sharp, main)
    if by_problem is None and by_answer is not None and not by_answer.open:
        said += " (counted by distinct correct answers)"
    if sharp == "open" and not (main is not None and main.open):
        said += "; whether it sharpened this base is not decided"
    if by_problem is not None and by_answer is not None and not by_answer.open and by_answer.way != "kept":
        if by_problem.open:
            grew = {"expanded": "grew", "shrank": "shrank"}.get(by_answer.way)
            said += f"; its set of distinct correct answers {grew}{by_answer.balance}" if grew else ""
        elif by_problem.way == "kept":
            answers = {"exchanged": "as many distinct correct answers were gained as lost"}.get(
                by_answer.way, f"the set of distinct correct answers {by_answer.way}{by_answer.balance}"
            )
            said += f"; but {answers}"
    return said + "."


def _open(sharp: str | None, main: Reach) -> str:
    if sharp is None:
        return f"{main} do not decide whether RLVR expanded or shrank what this base can reach"
    if sharp == "open":
        return f"It is not decided whether RLVR sharpened this base, nor whether its reach grew or shrank ({main})"
    start = {
        "rose": "RLVR sharpened this base, but",
        "fell": "RLVR did not sharpen this base (pass@1 fell), and",
        "same": "RLVR did not sharpen this base (pass@1 did not change), and",
    }[sharp]
    return f"{start} {main} do not decide whether its reach grew or shrank"


def _decided(sharp: str | None, main: Reach | None) -> str:
    way = main.way if main is not None else ""
    said = {
        "": "it is not known whether RLVR expanded or shrank what this base can reach",
        "kept": "neither expanded nor shrank what it can reach",
        "exchanged": "gained as much reach as it lost",
    }.get(way, f"{way} what it can reach{main.balance if main is not None else ''}")
    if sharp == "rose":
        link = {"": ", but ", "shrank": " but "}.get(way, " and ")
        return f"RLVR sharpened this base{link}{said}"
    said = said[0].upper() + said[1:] if not way else "RLVR " + said.replace("what it can", "what this base can")
    return said + {
        "fell": ", and did not sharpen it: pass@1 fell",
        "same": ", and did not sharpen it: pass@1 did not change",
    }.get(sharp or "", "")


def disagree(support: Support) -> bool:
    """Whether the two units point to opposite sides, and neither is open."""
    found = [reach(support, unit) for unit in UNITS]
    return {r.way for r in found if r is not None and not r.open} >= {"expanded", "shrank"}
