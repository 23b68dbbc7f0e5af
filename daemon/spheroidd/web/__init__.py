"""The page and the read API. Reads through `store`; only review events write."""
