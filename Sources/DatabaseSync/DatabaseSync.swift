// DatabaseSync
