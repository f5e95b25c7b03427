"""Text formats: runs, qrels, topics, captions, shot tables, TRECVID's XML."""
