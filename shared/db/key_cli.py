"""`plainfilm key make | list | revoke | link`, and `plainfilm tenant make | list`: who may use this service."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from shared.db import keys, webhook_queries
from shared.db.engine import open_database
from shared.domain import DEFAULT_TENANT, Role
from shared.errors import NotAllowed
from shared.settings import load_settings

key = typer.Typer(help="API keys and links into the pages.", no_args_is_help=True, add_completion=False)
tenant = typer.Typer(help="Tenants: each sees only its own films.", no_args_is_help=True, add_completion=False)

NO_KEY: Final = (
    "This home has no admin key: give the id of another one (`plainfilm key list`), or make it in PLAINFILM_HOME by "
    "`umask 077; plainfilm key make --role admin > api-key`."
)


@key.command()
def make(
    role: Annotated[Role, typer.Option(help="what the key may do; an auditor may only read")] = Role.UPLOADER,
    tenant: Annotated[str, typer.Option(help="the tenant it belongs to")] = DEFAULT_TENANT,
) -> None:
    """Make an API key and print it: the only time it is shown."""
    with open_database(load_settings()) as database, database.begin() as session:
        typer.echo(keys.make_key(session, tenant, role, database.now(session)))


@key.command("list")
def list_keys() -> None:
    """List all keys: id, tenant, role, created, revoked. Secrets are not stored and cannot be shown."""
    with open_database(load_settings()) as database, database.read() as session:
        for row in keys.list_keys(session):
            until = f"revoked {row.revoked_at:%Y-%m-%d %H:%M}" if row.revoked_at else "valid"
            typer.echo(f"{row.id}  {row.tenant}  {row.role}  made {row.created_at:%Y-%m-%d %H:%M}  {until}")


@key.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="the 12 hexadecimal digits after `pf_`; see `key list`")],
) -> None:
    """Revoke a key permanently, with its browser sessions and links. The films and webhooks it created stay."""
    with open_database(load_settings()) as database, database.begin() as session:
        of_tenant = keys.revoke_key(session, key_id, database.now(session))
        urls = [hook.url for hook in webhook_queries.list_webhooks(session, of_tenant).webhooks]
    typer.echo(f"{key_id} is revoked")
    if urls:
        hosts = ", ".join(sorted({str(urlsplit(url).hostname) for url in urls}))
        typer.echo(f"the webhooks of '{of_tenant}', whoever created them, are still notified of jobs that end: {hosts}")


@key.command()
def link(
    key_id: Annotated[str | None, typer.Argument(help="id of the key whose rights it gives; see `key list`")] = None,
) -> None:
    """Print a one-time link to the pages: for the key given, else that in PLAINFILM_KEY, else this home's admin key."""
    settings = load_settings()
    with open_database(settings) as database, database.begin() as session:
        if key_id is None:
            if settings.client_key is None:
                raise NotAllowed(NO_KEY)
            principal = keys.get_principal(session, settings.client_key)
        else:
            principal = keys.get_principal_by_id(session, key_id)
        token = keys.make_link(session, principal.key_id, database.now(session))
    typer.echo(f"{settings.service_url}/enter/{token}")


@tenant.command("make")
def make_tenant(name: Annotated[str, typer.Argument(help="lower-case letters, digits and hyphens")]) -> None:
    """Make a tenant; `plainfilm key make --tenant NAME` then makes its first key."""
    with open_database(load_settings()) as database, database.begin() as session:
        keys.make_tenant(session, name, database.now(session))
    typer.echo(f"{name} is a tenant")


@tenant.command("list")
def list_tenants() -> None:
    """Print all tenants."""
    with open_database(load_settings()) as database, database.read() as session:
        for name in keys.list_tenants(session):
            typer.echo(name)
