// MigrationSteps
