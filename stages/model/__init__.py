"""Shared by the torch stages, and not a stage itself."""
