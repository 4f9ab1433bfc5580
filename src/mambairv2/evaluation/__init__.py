"""Measuring by the field's protocols, beside published figures."""
