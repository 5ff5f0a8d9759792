"""How a variant is run: the engine protocol, one module per engine, and the child process each model lives in."""
