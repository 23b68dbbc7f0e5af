"""What people and programs look at: status, growth curves, exports. Reads through `store` only."""
