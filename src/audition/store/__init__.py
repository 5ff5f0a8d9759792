"""What is on the disk: verified model files by content, and the sources they come from."""
