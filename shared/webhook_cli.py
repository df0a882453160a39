"""`plainfilm webhook …`: an admin's webhooks, over the API; and `run`, the process that sends."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from shared.domain import DeliveryState
from shared.moments import read_moment
from shared.settings import load_settings

if TYPE_CHECKING:
    from shared.client import Client
    from shared.webhook_wire import Delivery, WebhookSecret

cli = typer.Typer(help="Addresses that are notified when jobs end.", no_args_is_help=True, add_completion=False)

WebhookId = Annotated[str, typer.Argument(help="as `plainfilm webhook list` prints it")]


@cli.command()
def add(url: Annotated[str, typer.Argument(help="where to send to; https")]) -> None:
    """Register an address that is notified whenever a job ends; prints its id and, this once, its secret."""
    with _client() as client:
        _print_secret(client.webhooks.add(url))


@cli.command("list")
def list_webhooks() -> None:
    """Print all webhooks of the tenant."""
    with _client() as client:
        for webhook in client.webhooks.list_all().webhooks:
            ended = webhook.disabled_at
            state = f"disabled {ended:%Y-%m-%dT%H:%MZ}" if ended else f"{webhook.failures} failures"
            typer.echo(f"{webhook.id}  made {webhook.created_at:%Y-%m-%dT%H:%MZ}  {state}  {webhook.url}")


@cli.command()
def rotate(webhook_id: WebhookId) -> None:
    """Create a new secret and print it; for 24 hours deliveries are signed with the old one as well."""
    with _client() as client:
        _print_secret(client.webhooks.rotate(webhook_id))


@cli.command()
def remove(webhook_id: WebhookId) -> None:
    """Stop sending to it, and delete its delivery log."""
    with _client() as client:
        client.webhooks.remove(webhook_id)
    typer.echo(f"{webhook_id} is removed")


@cli.command()
def test(webhook_id: WebhookId) -> None:
    """Send an empty test event (`ping`), once; `plainfilm webhook deliveries` shows the response."""
    with _client() as client:
        _print_delivery(client.webhooks.ping(webhook_id))


@cli.command()
def deliveries(
    webhook_id: WebhookId,
    status: Annotated[DeliveryState | None, typer.Option(help="only deliveries with this status")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="how many, newest first")] = 20,
) -> None:
    """Print its deliveries, and the outcome of each."""
    query = {"limit": str(limit)} | ({"status": status.value} if status else {})
    with _client() as client:
        for delivery in client.webhooks.list_deliveries(webhook_id, **query).deliveries:
            _print_delivery(delivery)


@cli.command()
def replay(
    webhook_id: WebhookId,
    delivery_id: Annotated[str | None, typer.Argument(help="one delivery")] = None,
    failed_since: Annotated[
        datetime | None,
        typer.Option(parser=read_moment, metavar="TIME", help="instead: all that failed since then, in UTC"),
    ] = None,
) -> None:
    """Send one delivery again, or all that failed since a time."""
    if (delivery_id is None) == (failed_since is None):
        raise typer.BadParameter("Name one delivery, or --failed-since, and not both.")
    with _client() as client:
        if delivery_id is not None:
            _print_delivery(client.webhooks.replay(webhook_id, delivery_id))
        elif failed_since is not None:
            number = client.webhooks.replay_failed(webhook_id, failed_since.isoformat())
            typer.echo(f"{number} are sent again")


@cli.command()
def run() -> None:
    """Send deliveries until stopped; `plainfilm up` starts this process if PLAINFILM_WEBHOOKS is set."""
    from shared.webhooks.run import run as run_here  # noqa: PLC0415  only this command needs its imports

    run_here(load_settings())


def _client() -> Client:
    from shared.client import open_client  # noqa: PLC0415  `run` does without

    return open_client(load_settings())


def _print_secret(webhook: WebhookSecret) -> None:
    typer.echo(f"{webhook.id}  {webhook.url}")
    typer.echo(webhook.secret)


def _print_delivery(delivery: Delivery) -> None:
    tries = delivery.attempts
    outcome = f"tries: {len(tries)}, the last: {tries[-1].error or tries[-1].status}" if tries else "not tried yet"
    typer.echo(f"{delivery.id}  {delivery.type}  {delivery.job_id or '-'}  {delivery.status.value}  {outcome}")
