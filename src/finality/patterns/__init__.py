"""What users write: each module one pattern."""
