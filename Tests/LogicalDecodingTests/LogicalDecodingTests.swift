// LogicalDecoding tests
