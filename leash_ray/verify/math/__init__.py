"""Mathematical answers: where they are in a text, one text for equal spellings, what they are made of, what they equal.

boxes, prose ▸ canonical ▸ shape (lists, sets, intervals, matrices, relations, units) ▸ formula ▸ values ▸ compare

What stands around an answer counts: what touches its box (beside), and what the text goes on to say (later).

math-verify's grader decides whether two formulas are equal, but only about formulas that were read whole, and whose
values agree at a few points: its own parser drops what it does not understand ("5 million" is 5 to it, and so is
"6=5"), and its comparison of decimals takes 0.0000012 and 0.0000013 for one number.
"""
