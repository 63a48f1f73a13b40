"""What a restore leaves in the staging area: what was asked for, what is done of it, and how it ended."""
