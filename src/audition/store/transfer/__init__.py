"""Fetching a file over HTTP so that nothing is lost and nothing is believed: resumable, checked, fast."""
