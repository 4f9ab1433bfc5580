"""The commands `analyze …`: what a network does, as arrays, JSON and a picture each."""
