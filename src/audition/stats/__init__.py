"""Pure functions: arrays in, frozen dataclasses out, the random generator passed in; no files, no clock."""
