"""Decides and records: configuration, plan, dispatch, catalog, command line. Moves no mail."""
