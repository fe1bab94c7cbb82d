"""Where the runtime keeps its g, m, p and schedt, for each release of Go, and how to read them."""
