"""Reading a backup: what it holds at a moment, what changed between two, where a message is."""
