"""Audition: choose the local language model your product ships with, with evidence.

`audition.api` is the library; the command line is a thin layer over it.
"""

__version__ = "0.1.0"
