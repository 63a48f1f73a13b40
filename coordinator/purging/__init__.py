"""Purging: which runs go, what is dead then, and how it is deleted so that a crash does no harm.

Begin at ``purge``. It knows the catalog and archives; who may read or write at the same time is decided by
the locks of ``lock``, ``readers`` and ``holds``.
"""
