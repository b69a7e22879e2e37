"""Make models out of labels: mining, recipes, training, model cards."""
