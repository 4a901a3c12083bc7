// RemoteHost
