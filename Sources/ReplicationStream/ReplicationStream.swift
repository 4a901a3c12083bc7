// ReplicationStream
