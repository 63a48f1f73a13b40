"""The coordinator that stays: its loop and what it does in it, operations in processes of their own, what may
run beside what (docs/serve.md, docs/decisions/0060-service.md)."""
