"""Meters that watch an engine's process from outside it."""
