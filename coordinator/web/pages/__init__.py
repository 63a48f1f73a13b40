"""The pages, each a module with its ``ROUTES``, in the order of the menu."""

from . import entrance, mailboxes, message, nights, now, operations, restoring

PAGES = (
    now,
    mailboxes,
    message,
    restoring,
    nights,
    operations,
    entrance,
)
