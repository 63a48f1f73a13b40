"""Archives on tape: drives, volumes and what is on them (TAPE.md), libraries of volumes, and the place."""
