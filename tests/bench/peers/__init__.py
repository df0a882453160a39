"""What plainfilm is measured against: the usual design, LitServe, and a bare loop without any server."""
