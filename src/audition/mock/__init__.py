"""A loopback OpenAI-compatible server with programmed timing, failures and lies; its own log is the ground truth."""
