"""What tells webhooks: a process of its own, so that no receiver is ever on a film's way."""
