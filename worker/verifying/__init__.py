"""Checking archives and the mail in them, and writing damaged ones anew."""
