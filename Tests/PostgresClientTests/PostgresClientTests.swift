// PostgresClient tests
