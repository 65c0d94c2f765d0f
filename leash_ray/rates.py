"""How fast something grows, of late. Pure."""

from collections import deque

WINDOW_S = 60.0


class RecentRate:
    """Rate of a sum that grows in lumps, over about the last minute.

    A lump, such as the tokens of a finished shard, was in the making since the lump before. So the window begins at a
    lump, or at the start: at the newest that is at least ``window_s`` old and has another one after it. Where lumps are
    further apart than the window, it is the time between them. Nothing new for long: the rate falls towards zero.

    A worked example: 100 at 10 s and 50 at 65 s give 150 / 65 at 65 s, and 50 / 62 at 72 s.
    """

    def __init__(self, now_s: float, window_s: float = WINDOW_S):
        self.total = 0
        self._window_s = window_s
        self._marks: deque[tuple[float, int]] = deque([(now_s, 0)])
        """(time, sum until then), the oldest being where the window begins."""

    def add(self, now_s: float, amount: int) -> None:
        self.total += amount
        self._marks.append((now_s, self.total))

    def per_s(self, now_s: float) -> float:
        """0 until the first lump."""
        while len(self._marks) > 2 and self._marks[1][0] <= now_s - self._window_s:
            self._marks.popleft()
        begun_s, before = self._marks[0]
        return (self.total - before) / max(1e-9, now_s - begun_s)
