"""Work over many recordings that a manifest lists: tracked and scored, in turn or by Ray."""
