"""From samples and scores to estimates: one file, `summary.json`, the same bytes for the same samples."""
