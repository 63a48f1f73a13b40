"""One adapter per mail store format, each behind the ports in ``proto.ports``."""
