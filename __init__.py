"""mailhaul: parallel, deduplicating backup and restore of very large mail stores."""

__version__ = "0.1.0"
