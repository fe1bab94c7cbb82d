"""What is made of a boot: text, JSON, a page, a comparison, a measurement."""
