"""What the rows say about the paper's claims."""
