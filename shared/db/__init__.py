"""The truth: tables, the only place that changes a job's state, the audit chain, and the read side."""
