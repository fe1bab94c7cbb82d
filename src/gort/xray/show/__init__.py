"""Ways to show a boot: text, JSON, a page, a comparison, a measurement."""
