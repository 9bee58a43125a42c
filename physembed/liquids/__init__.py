"""Liquids: tables of liquids and measurements, packed boxes, and the GAFF runs that equilibrate them."""
