"""Who may ask what: keys, scopes, and how large and how frequent requests may be."""
