// The language version decides timer semantics (unbuffered timer channels since 1.23).
module fidelity

go 1.27
