"""What is summed over samples: its table, its reading and its pictures, a file a noun."""
