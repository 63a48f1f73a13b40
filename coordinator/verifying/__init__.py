"""Whether what is kept can be restored, and what becomes of archives that are damaged."""
