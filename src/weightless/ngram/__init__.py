"""Floor 3: counted language models over flat arrays: Kneser-Ney counts, smoothing, scoring and ARPA export."""
