"""Erasure: all that is stored of a person goes, from every copy that can be rewritten, and stays away.

Begin at ``erasure``. What was erased is on record beside the archives (``record``); how far that is, and
which copies are still to go, beside the catalog (``progress``).
"""
