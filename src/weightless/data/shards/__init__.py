"""What writes and reads token shards: a prepared corpus, in one piece or in parts, its manifest, its inspection."""
