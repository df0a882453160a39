"""API keys and one-time login links: made once, stored as SHA-256, each carrying tenant and role."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Row, bindparam, delete, insert, select
from sqlalchemy.orm import Session

from shared.db import audit
from shared.db.engine import Sql
from shared.db.tables import ApiKey, LoginLink
from shared.errors import NotAllowed

KEY_FORM = re.compile(r"pf_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
LINK_LIFE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: a key, its tenant and its role."""

    key_id: str
    tenant: str
    role: str


def make_key(session: Session, tenant: str, role: str, now: datetime) -> str:
    """Make a key and return it: the only time it is seen. 32 random bytes behind a 12-digit id."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    row = {"id": key_id, "tenant": tenant, "role": role, "secret_sha256": _digest(secret), "created_at": now}
    session.execute(insert(ApiKey), [row])
    audit.append(session, tenant, [audit.Event("system", "key_made", key_id, {"role": role})], now)
    return f"pf_{key_id}_{secret}"


def get_principal(sql: Sql, key: str) -> Principal:
    """Whose key this is.

    Raises:
        NotAllowed: malformed, unknown or revoked: one answer for all three.
    """
    parts = KEY_FORM.fullmatch(key)
    row = sql.execute(_KEY, {"sought": parts[1]}).first() if parts else None
    if not parts or row is None or not hmac.compare_digest(row.secret_sha256, _digest(parts[2])):
        raise NotAllowed("This key is not valid.")
    return _principal(row)


def get_principal_by_id(sql: Sql, key_id: str) -> Principal:
    """The principal of a browser session.

    Raises:
        NotAllowed: the key is gone or was revoked since.
    """
    row = sql.execute(_KEY, {"sought": key_id}).first()
    if row is None:
        raise NotAllowed("This session's key no longer exists.")
    return _principal(row)


def find_key_id(key: str) -> str | None:
    """The id inside a key's text, if it has the form of one."""
    parts = KEY_FORM.fullmatch(key)
    return parts[1] if parts else None


def make_link(session: Session, key_id: str, now: datetime) -> str:
    """Make a one-time token for the pages; it lives for `LINK_LIFE`."""
    token = secrets.token_urlsafe(24)
    session.execute(delete(LoginLink).where(LoginLink.expires_at < now))
    row = {"token_sha256": _digest(token), "key_id": key_id, "expires_at": now + LINK_LIFE}
    session.execute(insert(LoginLink), [row])
    return token


def use_link(session: Session, token: str, now: datetime) -> Principal:
    """Use a token up.

    Raises:
        NotAllowed: unknown, used before or too old.
    """
    used = delete(LoginLink).where(LoginLink.token_sha256 == _digest(token), LoginLink.expires_at >= now)
    key_id = session.scalar(used.returning(LoginLink.key_id))
    if key_id is None:
        raise NotAllowed("This link was used before or is too old; `plainfilm key link` prints a new one.")
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
