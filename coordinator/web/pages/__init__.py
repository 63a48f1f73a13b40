"""The pages, each a module with its ``ROUTES``, in the order of the menu."""

from . import entrance, now

PAGES = (now, entrance)
