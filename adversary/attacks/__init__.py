"""Named attacks: what they are, and what is expected of a group that suffers one."""
