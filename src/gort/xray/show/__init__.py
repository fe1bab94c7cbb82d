"""What the user gets to see: reports, paper, pages, JSON, comparisons and figures."""
