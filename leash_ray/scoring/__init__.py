"""``leash score``: teacher forcing. What a model makes of tokens that are there already, step by step."""
