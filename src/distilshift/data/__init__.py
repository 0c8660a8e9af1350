"""From files to token batches."""
