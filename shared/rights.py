"""The rights of each role, in one table; each use case checks the right that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from shared.domain import Role


class Right(StrEnum):
    """Rights that not every key has; every key may read all of its tenant's films."""

    CHANGE = "send, cancel, explain, classify again"
    REVIEW = "review films (record what a reader sees)"
    DELETE_OWN = "delete what it sent"
    DELETE_ANY = "delete any film of its tenant"
    AUDIT_OWN = "read the audit trail of what it sent"
    AUDIT_ANY = "read the audit trail of any film of its tenant, deleted ones too"
    OPERATE = "see the state of the whole service, across all tenants"
    WEBHOOKS = "see and change webhooks"


RIGHTS: Final[Mapping[str, frozenset[Right]]] = MappingProxyType(
    {
        Role.ADMIN: frozenset(Right),
        Role.UPLOADER: frozenset({Right.CHANGE, Right.DELETE_OWN, Right.AUDIT_OWN}),
        Role.REVIEWER: frozenset({Right.CHANGE, Right.REVIEW, Right.DELETE_OWN, Right.AUDIT_OWN}),
        Role.AUDITOR: frozenset({Right.AUDIT_OWN, Right.AUDIT_ANY, Right.OPERATE}),
    }
)
"""By role; a role that this build does not know may only read."""


def has_right(role: str, right: Right) -> bool:
    """Whether a key of this role has the right."""
    return right in RIGHTS.get(role, frozenset())
