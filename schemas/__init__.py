"""Contracts: what every table that passes between two stages looks like."""
