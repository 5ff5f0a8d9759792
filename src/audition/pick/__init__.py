"""Deciding: constraints, who is not shown to be worse than the best, and the cheapest among those."""
