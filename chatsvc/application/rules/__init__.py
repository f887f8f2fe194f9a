"""What each operation does: a function of the state and the operation,
which checks everything before it changes anything."""
