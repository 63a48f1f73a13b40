"""Archives leave the staging area for the places where they stay."""
