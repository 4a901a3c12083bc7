// ReplicationModel tests
