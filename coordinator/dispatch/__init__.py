"""Engines that run units on workers. One module per engine; each calls the same unit function."""
