"""Window attention: one function, several backends."""
