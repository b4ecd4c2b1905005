"""One folder a card: wording, interface, traps, checks, and what makes our own code a solution of it."""
