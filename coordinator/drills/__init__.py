"""The proof that restores work: now and then a sample of mailboxes is really restored from its swept copies,
and compared message by message. What that has shown is on record in ``service.proofs``."""
