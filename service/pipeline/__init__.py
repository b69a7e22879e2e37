"""The joins between the stages; `build` is the only place that knows all of them."""
