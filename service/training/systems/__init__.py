"""One module per model system: what a recipe trains, on which rows, with which loss.

A new system is a module here and a line of `SYSTEMS` in `service/training/system.py`.
"""
