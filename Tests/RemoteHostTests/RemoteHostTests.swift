// RemoteHost tests
