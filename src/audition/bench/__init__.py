"""Measuring: the plan, the runner, what is sampled, the guards and the meters, and the run directory."""
