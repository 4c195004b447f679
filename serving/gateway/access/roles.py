"""Roles, permissions, and who holds them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

ANY = "*"  # stands for every project


class Permission(StrEnum):
    """What a route asks for."""

    READ = "read features"
    WRITE = "write features"
    MANAGE = "manage"


class Role(StrEnum):
    """What a caller is in a project; each includes the one before it."""

    READER = "reader"
    WRITER = "writer"
    ADMIN = "admin"


PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.READER: frozenset({Permission.READ}),
    Role.WRITER: frozenset({Permission.READ, Permission.WRITE}),
    Role.ADMIN: frozenset(Permission),
}


class RoleError(ValueError):
    """A role that does not exist."""

    exit_code = 2


class Principal(NamedTuple):
    """Somebody whose credentials were accepted.

    Args:
        name: `key:<name>` or `user:<subject>`; what the audit log calls them.
        roles: by project, `*` for all of them.
    """

    name: str
    roles: Mapping[str, Role]

    def may(self, permission: Permission, project: str) -> bool:
        held = (self.roles.get(project), self.roles.get(ANY))
        return any(role is not None and permission in PERMISSIONS[role] for role in held)


def parse_role(text: str) -> Role:
    """The role of this name.

    Raises:
        RoleError: there is none; the message names the nearest.
    """
    try:
        return Role(text)
    except ValueError as error:
        near = difflib.get_close_matches(text, list(Role), 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise RoleError(f"no role {text!r}{hint} There are {', '.join(Role)}") from error


def higher(roles: Iterable[Role]) -> Role:
    """The one of several that allows most."""
    return max(roles, key=lambda role: len(PERMISSIONS[role]))
