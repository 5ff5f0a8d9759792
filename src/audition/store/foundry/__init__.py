"""Foundry Local's SDK and its public catalog."""
