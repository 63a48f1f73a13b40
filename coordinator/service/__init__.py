"""What the coordinator that stays has on record beside the catalog: operations, what the schedule has
handled, proofs of restores, notices. They are apart for the reasons in docs/decisions/0060-service.md."""
