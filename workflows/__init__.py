"""Recipes that chain stages, and the command that runs them on a site."""
