"""Showing: the terminal table, Markdown and CSV, all from the same summary."""
