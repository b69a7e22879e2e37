"""One module a group of paths; thin: parse, call the pipeline, answer."""
