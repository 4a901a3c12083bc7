// MigrationSteps tests
