"""How often each verdict came, by (policy, problem), and what is not known about the answers."""

import numpy as np
import pyarrow as pa

from leash_ray.reducers.block import CODE, VERDICTS, Block
from leash_ray.reducers.reducer import ByPair, sum_at


class VerdictCounts(ByPair):
    """Counts of the five verdicts, of CORRECT rows that are right by leniency only (``correct_lenient``) or come from
    tables without that column (``leniency_unknown``), and of rows whose answer should be there and is not
    (``answer_unknown``; ``correct_answer_unknown``: the CORRECT ones among them)."""

    name = "verdicts"
    columns = ("answer", "leniency")
    sums = (*VERDICTS, "answer_unknown", "correct_answer_unknown", "correct_lenient", "leniency_unknown")

    def update(self, block: Block) -> pa.Table:
        cells, n = block.cells, block.n_pairs
        of_verdict = sum_at(
            cells.pair.astype(np.int64) * len(VERDICTS) + cells.verdict, cells.count, n * len(VERDICTS)
        ).reshape(n, len(VERDICTS))
        found = {v: of_verdict[:, i].copy() for i, v in enumerate(VERDICTS)}
        correct = cells.verdict == CODE["CORRECT"]
        if block.has_answers:
            unknown = (correct | (cells.verdict == CODE["INCORRECT"])) & (cells.answer < 0)
            correct_unknown = unknown & correct
        else:  # also where nothing was extracted: missing, not 0
            unknown = correct_unknown = np.ones(len(correct), dtype=bool)
        for name, which in (
            ("answer_unknown", unknown),
            ("correct_answer_unknown", correct_unknown),
            ("correct_lenient", cells.lenient),
            ("leniency_unknown", correct & (not block.has_leniency)),
        ):
            found[name] = sum_at(cells.pair[which], cells.count[which], n)
        return self.dense(n, found)
