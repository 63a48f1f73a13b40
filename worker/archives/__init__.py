"""Archives by address: the port to where they lie, readers over them, what there is of their data."""
