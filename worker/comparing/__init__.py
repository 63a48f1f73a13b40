"""What a store lists, compared with how it was stored last."""
