"""The pages, each a module with its ``ROUTES``, in the order of the menu."""

from . import (
    alarms,
    audit,
    entrance,
    key,
    mailboxes,
    message,
    nights,
    now,
    operations,
    places,
    proof,
    restoring,
    status,
)

PAGES = (
    now,
    mailboxes,
    message,
    restoring,
    nights,
    places,
    alarms,
    proof,
    operations,
    status,
    audit,
    key,
    entrance,
)
