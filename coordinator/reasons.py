"""Why something is not in a backup: what should be in it and is not, and what is left out on purpose.

The words are those of ``Skipped.reason``.
"""

from __future__ import annotations

EXCLUDED = frozenset({"excluded", "excluded-user", "group-off", "not-asked", "older", "accepted"})
"""What the configuration or the command line has left out."""

NO_FAULT = EXCLUDED | {"vanished"}
"""What is listed though the run has stored all that it was to store: also what its owner removed meanwhile.
Everything else should be in the backup and is not."""
