"""Everything that moves mail bytes: reading stores, cutting, deduplicating, archiving, restoring."""
