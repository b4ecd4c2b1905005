"""Count mixing (floor 3): the tree over tokens, one pass that counts, what is kept and in how many bytes."""
