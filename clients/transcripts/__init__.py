"""Parts of a room on paper: messages with what f+1 replicas signed about them, for anybody who has the group file."""
