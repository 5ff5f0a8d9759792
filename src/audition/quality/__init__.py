"""Judging answers: cases and what is expected of them, the checks, the scores."""
