"""What a restore would meet at its target: room, rights, quotas, what is there, and what would not stay."""
