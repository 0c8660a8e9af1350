"""What a model minimises on unlabelled texts: an objective of the training loop for each family of methods."""
