"""Facts of the machine, one room each; a fact that the machine does not tell is None."""
