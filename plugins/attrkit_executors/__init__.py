"""Where the shards of a data set job are computed."""
