"""Who is backed up together: logical paths, backup groups, shards. Pure functions on records."""
