"""Liquids: their table and measurements, packed boxes and the GAFF runs that equilibrate them."""
