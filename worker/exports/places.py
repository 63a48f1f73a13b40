"""Where the mailbox of a user becomes a directory, in a place that was named for all of them."""

from __future__ import annotations

import os

from ..stores.location import Location
from ..stores.template import Template, is_template
from .file_names import safe_name


class Places:
    """``path`` is a directory, in which each user gets one, or a template that says which. Raises ConfigError
    for a template that is none."""

    def __init__(self, path: str) -> None:
        self._anchor = os.fsencode(path)
        self._template = Template(path) if is_template(path) else None

    def of(self, user: str) -> Location:
        """The place of a user. Raises StoreError for a user id that can't stand in the template."""
        if self._template is not None:
            return self._template.locate(user)
        return Location(anchor=self._anchor, below=(safe_name(user),), has_home=False)
