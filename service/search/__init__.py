"""The way of a query: normalize, encode, retrieve, rerank, judge."""
