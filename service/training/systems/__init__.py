"""One module per model system: what a recipe trains, on which rows, with which loss."""
