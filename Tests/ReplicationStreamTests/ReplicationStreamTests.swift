// ReplicationStream tests
