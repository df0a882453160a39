"""The async job API, version 1, and the health endpoints."""
