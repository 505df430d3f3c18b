"""The instrument: what emostream costs, how many cameras it holds, and against what. Behind `emostream bench`."""
