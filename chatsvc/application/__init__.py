"""The chat as a deterministic state machine: pure, and the same at every replica on every Python."""
