"""What a teacher of K known classes keeps of the full gradient, exactly, for many K at once."""
