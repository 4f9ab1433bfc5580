"""The selective scan: one function, several backends."""
