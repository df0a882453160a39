"""Tenants, their API keys and one-time login links. A key belongs to one tenant and is stored as a SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Row, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from shared.db import audit
from shared.db.engine import Sql
from shared.db.tables import ApiKey, AuditHead, LoginLink, Tenant
from shared.errors import Conflict, InvalidRequest, NotAllowed, NotFound
from shared.rights import Right, has_right

KEY_FORM = re.compile(r"pf_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
LINK_LIFE = timedelta(hours=1)
TENANT_FORM = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""Restrictive since the name is also that of a folder of films and of an audit stream."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: a key, its tenant and its role."""

    key_id: str
    tenant: str
    role: str

    def may(self, right: Right) -> bool:
        """Return whether the role has this right."""
        return has_right(self.role, right)


def make_tenant(session: Session, name: str, now: datetime) -> None:
    """Make a tenant with an audit stream of its own.

    Raises:
        InvalidRequest: the name is not of `TENANT_FORM`.
        Conflict: a tenant of that name exists.
    """
    if not TENANT_FORM.fullmatch(name):
        raise InvalidRequest(f"'{name}' is not a valid tenant name: up to 63 of a-z, 0-9 and '-', not '-' first.")
    if session.get(Tenant, name) is not None:
        raise Conflict(f"The tenant '{name}' already exists.")
    session.execute(insert(Tenant), [{"id": name, "created_at": now}])
    session.execute(insert(AuditHead), [{"stream": name, "seq": 0, "hash": audit.GENESIS}])
    audit.append(session, name, [audit.Event("system", "tenant_made", name)], now)


def list_tenants(session: Session) -> Sequence[str]:
    """Return the names of all tenants, sorted."""
    return session.scalars(select(Tenant.id).order_by(Tenant.id)).all()


def make_key(session: Session, tenant: str, role: str, now: datetime) -> str:
    """Make a key and return it; it cannot be read later. 32 random bytes behind an id of 12 hexadecimal digits.

    Raises:
        NotFound: no such tenant.
    """
    if session.get(Tenant, tenant) is None:
        raise NotFound(f"There is no tenant '{tenant}'; `plainfilm tenant make {tenant}` makes one.")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    row = {"id": key_id, "tenant": tenant, "role": role, "secret_sha256": _digest(secret), "created_at": now}
    session.execute(insert(ApiKey), [row])
    audit.append(session, tenant, [audit.Event("system", "key_made", key_id, {"role": role})], now)
    return f"pf_{key_id}_{secret}"


def list_keys(session: Session) -> Sequence[ApiKey]:
    """Return all keys, by tenant, the oldest first."""
    return session.scalars(select(ApiKey).order_by(ApiKey.tenant, ApiKey.created_at, ApiKey.id)).all()


def revoke_key(session: Session, key_id: str, now: datetime) -> str:
    """Revoke a key for good, and delete its login links.

    Returns:
        The key's tenant.

    Raises:
        NotFound: no such key.
        Conflict: it was revoked before.
    """
    row = session.get(ApiKey, key_id)
    if row is None:
        raise NotFound(f"There is no key '{key_id}'; `plainfilm key list` prints them.")
    ended = update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)).values(revoked_at=now)
    if session.scalar(ended.returning(ApiKey.id)) is None:
        raise Conflict(f"The key {key_id} is already revoked.")
    session.execute(delete(LoginLink).where(LoginLink.key_id == key_id))
    audit.append(session, row.tenant, [audit.Event("system", "key_revoked", key_id)], now)
    return row.tenant


def get_principal(sql: Sql, key: str) -> Principal:
    """Return the principal of a key.

    Raises:
        NotAllowed: malformed, unknown or revoked: one answer for all three.
    """
    parts = KEY_FORM.fullmatch(key)
    row = sql.execute(_KEY, {"sought": parts[1]}).first() if parts else None
    if not parts or row is None or not hmac.compare_digest(row.secret_sha256, _digest(parts[2])):
        raise NotAllowed("This key is not valid.")
    return _principal(row)


def get_principal_by_id(sql: Sql, key_id: str) -> Principal:
    """Return the principal of a key by its id, for a browser session or a login link.

    Raises:
        NotAllowed: there is no such key, or it was revoked.
    """
    row = sql.execute(_KEY, {"sought": key_id}).first()
    if row is None:
        raise NotAllowed("This key does not exist or has been revoked.")
    return _principal(row)


def make_link(session: Session, key_id: str, now: datetime) -> str:
    """Make and return a one-time login token; it is valid for `LINK_LIFE`."""
    token = secrets.token_urlsafe(24)
    session.execute(delete(LoginLink).where(LoginLink.expires_at < now))
    row = {"token_sha256": _digest(token), "key_id": key_id, "expires_at": now + LINK_LIFE}
    session.execute(insert(LoginLink), [row])
    return token


def use_link(session: Session, token: str, now: datetime) -> Principal:
    """Consume a login token and return its principal.

    Raises:
        NotAllowed: unknown, used before or too old.
    """
    used = delete(LoginLink).where(LoginLink.token_sha256 == _digest(token), LoginLink.expires_at >= now)
    key_id = session.scalar(used.returning(LoginLink.key_id))
    if key_id is None:
        raise NotAllowed("This link has already been used or has expired; `plainfilm key link` prints a new one.")
    principal = get_principal_by_id(session, key_id)
    audit.append(session, principal.tenant, [audit.Event(f"key:{key_id}", "entered", key_id)], now)
    return principal


_KEY = select(ApiKey.id, ApiKey.tenant, ApiKey.role, ApiKey.secret_sha256, ApiKey.revoked_at).where(
    ApiKey.id == bindparam("sought")
)


def _principal(row: Row[str, str, str, str, datetime | None]) -> Principal:
    if row.revoked_at is not None:
        raise NotAllowed("This key is not valid.")
    return Principal(row.id, row.tenant, row.role)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
