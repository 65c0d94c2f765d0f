"""One part of a report: a table, what is said of it in words, or both. The terminal and the page show the same ones."""

from dataclasses import dataclass

Row = tuple[str, list[str]]


@dataclass(frozen=True, slots=True)
class Part:
    """Nothing in it is styled or escaped."""

    name: str
    title: str
    caption: str = ""
    """What the table's numbers are, in a line."""
    head: str = ""
    """Above the labels of the rows."""
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    """(label, a cell for each column)."""
    lines: tuple[tuple[str, str], ...] = ()
    """(of what, what is said of it); an empty label goes on with the one before."""

    def __bool__(self) -> bool:
        return bool(self.rows or self.lines)
