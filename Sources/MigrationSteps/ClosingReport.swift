public import ReplicationModel

public enum ClosingReport {
  public static func latest(_ context: MigrationContext) async throws -> MigrationReport? { nil }
}
