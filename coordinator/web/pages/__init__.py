"""The pages, each a module with its ``ROUTES``, in the order of the menu."""

from . import entrance, mailboxes, message, now, operations, restoring

PAGES = (now, mailboxes, message, restoring, operations, entrance)
