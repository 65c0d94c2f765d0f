"""``leash score``: teacher forcing. What a model makes of tokens that are there already: ln p and entropy at each step."""
