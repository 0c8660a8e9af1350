"""Pure functions of tensors, one formula each."""
