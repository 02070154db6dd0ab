"""What a teacher of K known classes loses: how much, where to, for whom, against what."""
