"""The dispatcher of webhooks: a process of its own, so that no receiver can delay a film."""
