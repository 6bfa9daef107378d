"""The studies of a runs folder: listed, shown and removed."""
