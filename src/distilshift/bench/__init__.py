"""The benchmark: a matrix of domain pairs, methods and seeds, each cell one result file."""
