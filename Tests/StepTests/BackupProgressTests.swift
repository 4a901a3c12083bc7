import Synchronization
import Testing

@testable import CopySteps
@testable import MigrationSteps

@Suite struct BackupProgressTests {
  @Test func howMuchHowFastAndHowLong() {
    #expect(
      BackupProgress.text(percent: 25, done: 256 << 20, of: 1 << 30, after: .seconds(64))
        == "base backup 25 %, 256.0 MB of 1.0 GB, 4.0 MB/s, about 3m12s left")
    #expect(
      BackupProgress.text(percent: 0, done: 0, of: 1 << 30, after: .seconds(5)) == "base backup 0 %, 0 bytes of 1.0 GB")
  }

  @Test func everyTwentiethPartOnce() {
    let said = Lines()
    let progress = BackupProgress(report: { said.add($0) }, elapsed: { .zero })
    progress.feed(Array("  1024/102400 kB (1%), 0/1 tablespace\r  2048/102400 kB (2%), 0/1 tablespace\r".utf8))
    progress.feed(
      Array("pg_basebackup: starting background WAL receiver\n 10240/102400 kB (10%), 0/1 tablespace\r".utf8))
    #expect(said.all == ["base backup 1 %, 1.0 MB of 100.0 MB", "base backup 10 %, 10.0 MB of 100.0 MB"])
  }

  private final class Lines: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
  }
}
