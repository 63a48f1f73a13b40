"""Mail as files that other programs read: mbox, eml, tar, each behind the port of a target."""
