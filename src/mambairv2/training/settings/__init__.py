"""The tables of a recipe that other parts of training take."""
