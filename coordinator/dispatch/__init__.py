"""Engines that run tasks on workers: one module per engine, the port they implement in ``engine``."""
