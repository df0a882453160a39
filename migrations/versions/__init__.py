"""Numbered, linear, each with a way back."""
