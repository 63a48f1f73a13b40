"""Roles, and somebody who is known by name."""

from __future__ import annotations

from typing import Literal, get_args

from ...proto.structs import Record

Role = Literal["operator", "viewer", "helpdesk"]

ROLES: tuple[Role, ...] = get_args(Role)


class Who(Record, kw_only=True):
    """Somebody who asks for something: by name (``local:USER`` for a user of this host), with a role.

    ``groups`` are those that a helpdesk acts for; nobody else has any. ``where`` is the address that they ask
    from, ``session`` what their forms are bound to.
    """

    name: str
    role: Role
    groups: frozenset[str] = frozenset()
    where: str = ""
    session: str = ""

    def may(self, *roles: Role) -> bool:
        """Whether somebody of these roles may: an operator may all."""
        return self.role == "operator" or self.role in roles

    def may_in(self, group: str) -> bool:
        """Whether what is stored as a group is theirs to see: a helpdesk has its groups, others have all."""
        return self.role != "helpdesk" or group in self.groups

    @property
    def asked_by(self) -> str:
        """As it stands on the record of an operation."""
        return f"page:{self.name}"
