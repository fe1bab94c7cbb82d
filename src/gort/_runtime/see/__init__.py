"""What a person sees of a running program: one look at the runtime, what looks wrong, metrics, the live page."""
