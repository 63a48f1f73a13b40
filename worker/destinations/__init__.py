"""Destinations: where archives lie for good. One adapter for each kind."""
