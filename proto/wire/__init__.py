"""The messages between hosts (WIRE.md), how they are checked, and the sockets that carry them."""
