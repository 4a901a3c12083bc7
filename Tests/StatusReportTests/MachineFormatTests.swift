import FoundationEssentials
import ReplicationModel
import Testing

@testable import StatusReport

@Suite struct MachineFormats {
  private func oneDatabase() -> ConvoyStatus {
    var status = sampleStatus()
    status.migrations.removeSubrange(1...)
    status.migrations[0].databases.removeFirst()
    return status
  }

  @Test func jsonToTheLetter() {
    #expect(
      StatusJSON.render(oneDatabase()) == #"""
        {
          "version": 1,
          "generated_at": "2026-03-01T10:00:00Z",
          "sync": {
            "running": true,
            "pid": 4711
          },
          "migrations": [
            {
              "name": "chef-eu",
              "source": "eu-old",
              "target": "eu-new",
              "state": "handed_off",
              "direction": "forward",
              "source_fenced": false,
              "target_fenced": null,
              "should_be_closed": "target",
              "should_be_closed_and_is_open": null,
              "both_open": null,
              "fence_breaches": null,
              "latest_breach": null,
              "closed_side_commits": null,
              "hand_off_lsn": "16/B374D848",
              "sync": null,
              "databases": [
                {
                  "migration": "chef-eu",
                  "database": "naïve \"x\"\n🚚日本",
                  "phase": "parked",
                  "direction": null,
                  "lag_bytes": 5368709120,
                  "lag_seconds": 7500,
                  "transactions_applied": 7,
                  "rows_applied": 8,
                  "rows_per_second": 0,
                  "missed_rows": 2,
                  "gone_rows": null,
                  "hand_off_lsn": null,
                  "applied_lsn": null,
                  "confirmed_flush_lsn": null,
                  "source_lsn": null,
                  "last_error": "duplicate key value violates unique constraint \"users_pkey\" at 16/B374D900",
                  "interrupted_seconds": null,
                  "drift": null
                }
              ]
            }
          ]
        }

        """#)
  }

  @Test func jsonIsWhatTheValueDecodesFrom() throws {
    let decoded = try JSONDecoder().decode(ConvoyStatus.self, from: Data(StatusJSON.render(sampleStatus()).utf8))
    #expect(decoded == sampleStatus())
    let report = try JSONDecoder().decode(
      MigrationReport.self, from: Data(MigrationReportJSON.render(sampleReport()).utf8))
    #expect(report == sampleReport())
    // And the values' own coding reads what it wrote.
    #expect(try JSONDecoder().decode(ConvoyStatus.self, from: JSONEncoder().encode(sampleStatus())) == sampleStatus())
    #expect(
      try JSONDecoder().decode(MigrationReport.self, from: JSONEncoder().encode(sampleReport())) == sampleReport())
  }

  @Test func prometheusToTheLetter() {
    #expect(
      StatusPrometheus.render(oneDatabase()) == #"""
        # HELP pgconvoy_status_timestamp_seconds When this status was made, in seconds since 1970.
        # TYPE pgconvoy_status_timestamp_seconds gauge
        pgconvoy_status_timestamp_seconds 1772359200
        # HELP pgconvoy_sync_running 1 when the process that applies changes runs.
        # TYPE pgconvoy_sync_running gauge
        pgconvoy_sync_running 1
        # HELP pgconvoy_migration_state 1 for the state that the migration is in.
        # TYPE pgconvoy_migration_state gauge
        pgconvoy_migration_state{migration="chef-eu",source="eu-old",target="eu-new",state="handed_off"} 1
        # HELP pgconvoy_migration_direction 1 for the way that changes travel: forward or reverse.
        # TYPE pgconvoy_migration_direction gauge
        pgconvoy_migration_direction{migration="chef-eu",direction="forward"} 1
        # HELP pgconvoy_host_fenced 1 when everyone but pgconvoy is kept out of the host's server.
        # TYPE pgconvoy_host_fenced gauge
        pgconvoy_host_fenced{migration="chef-eu",host="eu-old",side="source"} 0
        # HELP pgconvoy_database_phase 1 for the phase that the database is in.
        # TYPE pgconvoy_database_phase gauge
        pgconvoy_database_phase{migration="chef-eu",database="naïve \"x\"\n🚚日本",phase="parked"} 1
        # HELP pgconvoy_lag_bytes WAL bytes of the source that are not durable on the target yet.
        # TYPE pgconvoy_lag_bytes gauge
        pgconvoy_lag_bytes{migration="chef-eu",database="naïve \"x\"\n🚚日本"} 5368709120
        # HELP pgconvoy_lag_seconds Age of the oldest source transaction that is not applied yet.
        # TYPE pgconvoy_lag_seconds gauge
        pgconvoy_lag_seconds{migration="chef-eu",database="naïve \"x\"\n🚚日本"} 7500.0
        # HELP pgconvoy_transactions_applied_total Source transactions applied.
        # TYPE pgconvoy_transactions_applied_total counter
        pgconvoy_transactions_applied_total{migration="chef-eu",database="naïve \"x\"\n🚚日本"} 7
        # HELP pgconvoy_rows_applied_total Row changes applied.
        # TYPE pgconvoy_rows_applied_total counter
        pgconvoy_rows_applied_total{migration="chef-eu",database="naïve \"x\"\n🚚日本"} 8
        # HELP pgconvoy_rows_per_second Row changes applied a second, over the last seconds.
        # TYPE pgconvoy_rows_per_second gauge
        pgconvoy_rows_per_second{migration="chef-eu",database="naïve \"x\"\n🚚日本"} 0.0
        # HELP pgconvoy_missed_rows_total Updates and deletes that found no row on the target.
        # TYPE pgconvoy_missed_rows_total counter
        pgconvoy_missed_rows_total{migration="chef-eu",database="naïve \"x\"\n🚚日本"} 2
        # HELP pgconvoy_database_parked 1 when the database is parked at a change that cannot be applied.
        # TYPE pgconvoy_database_parked gauge
        pgconvoy_database_parked{migration="chef-eu",database="naïve \"x\"\n🚚日本"} 1

        """#)
  }

  @Test func whatIsUnknownHasNoSample() {
    let copying = DatabaseStatus(migration: "m", database: "a\\b", phase: .copying)
    let text = StatusPrometheus.render(
      ConvoyStatus(
        generatedAt: moment, sync: .init(running: false),
        migrations: [.init(name: "m", source: "s", target: "t", state: .copying, databases: [copying])]))
    #expect(!text.contains("lag_"))
    #expect(!text.contains("_total"))
    #expect(text.contains(#"pgconvoy_database_phase{migration="m",database="a\\b",phase="copying"} 1"#))
  }
}
