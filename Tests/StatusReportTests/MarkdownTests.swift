import ReplicationModel
import Testing

@testable import StatusReport

@Suite struct Markdown {
  @Test func theProofToTheLetter() {
    var report = sampleReport()
    report.by = "ada@workstation"
    report.wayLSN = LSN(0x16_C000_0000)
    report.databases.removeLast()
    report.databases[0].tables = [
      .init(
        name: RelationName(schema: "public", name: "a|b"), source: .init(rows: 1_000, checksum: "0f"),
        target: .init(rows: 999, checksum: "1f"))
    ]
    report.databases[0].sequences = [
      .init(name: RelationName(schema: "public", name: "a_id_seq"), lastValue: 7, isCalled: true)
    ]
    report.phases = [.init(name: "drain", milliseconds: 900)]
    #expect(
      MigrationReportMarkdown.render(report, seal: "ab12") == #"""
        # Cutover of chef-eu: eu-old → eu-new

        |  |  |
        | --- | --- |
        | Written | 2026-03-01T10:00:00Z |
        | By | ada@workstation |
        | Servers | PostgreSQL 15.20, 15.20 |
        | pgconvoy | 0.1.0 |
        | Application | chef-server 15.9 |
        | Hand-off | `16/B374D848` |
        | Way back from | `16/C0000000` |
        | Downtime | 3.2 s |
        | SHA-256 of the JSON document | `ab12` |

        ## Databases

        | Database | Transactions | Changes | Tables | Source rows | Target rows | Source checksum | Target checksum | Equal |
        | --- | --- | --- | --- | --- | --- | --- | --- | --- |
        | opscode\_chef | 104,112 | 400,000 | 48 | 1,204,112 | 1,204,112 | `9f3c51aa0be77d21` | `9f3c51aa0be77d21` | yes |

        ## Tables of opscode\_chef

        | Table | Source rows | Target rows | Source checksum | Target checksum | Equal |
        | --- | --- | --- | --- | --- | --- |
        | public.a\|b | 1,000 | 999 | `0f` | `1f` | **no** |

        ## Sequences of opscode\_chef

        | Sequence | Stands at | Handed out |
        | --- | --- | --- |
        | public.a\_id\_seq | 7 | yes |

        ## Markers

        | Marker | Database | LSN | Changes since the one before |
        | --- | --- | --- | --- |
        | drain | opscode\_chef | `16/B5000000` | – |
        | proof | opscode\_chef | `16/B5000120` | 0 |

        ## Durations

        | Step | Time |
        | --- | --- |
        | drain | 900 ms |

        ## Findings

        - **note**: archiving stays off on the target
        - **warning**: database bookshelf: 2 unlogged tables are empty

        """#)
  }

  @Test func aRollbackPointsTheOtherWay() {
    var report = sampleReport()
    report.outcome = .rolledBack
    report.direction = .reverse
    let text = MigrationReportMarkdown.render(report)
    #expect(text.hasPrefix("# Rollback of chef-eu: eu-old ← eu-new\n"))
    #expect(text.contains("| Way forward from | – |"))
    #expect(!text.contains("SHA-256"))
  }
}
