import BlockingIO
import FoundationEssentials
import Glibc
import ReplicationModel

/// A lab's directory: its marker file, and the lock that keeps two commands off it at the same time.
final class LabDirectory: Sendable {
  static let markerName = "pgconvoy-lab.json"

  /// Absolute, without symbolic links.
  let path: String
  private let lock: Int32

  private init(path: String, lock: Int32) {
    self.path = path
    self.lock = lock
  }

  deinit { close(lock) }

  /// Opens the directory, making it where it is missing, and locks it. Blocks for up to two seconds.
  ///
  /// Refuses one that holds anything else than a lab.
  static func openForStart(_ path: String) throws -> LabDirectory {
    try makeDirectories(path)
    let directory = try locked(path)
    let entries = directoryEntries(directory.path)
    if !entries.isEmpty && !entries.contains(markerName) && entries != [markerName + ".new"] {
      throw ConvoyError(
        "lab.directory-not-empty", "the directory is not empty and not a lab", at: .path(directory.path),
        hint: "name a directory that does not exist yet, or an empty one", kind: .usage)
    }
    return directory
  }

  /// Opens and locks a lab's directory; refuses one that is not a lab. Blocks for up to two seconds.
  static func open(_ path: String) throws -> LabDirectory {
    guard let real = realPath(path) else {
      throw ConvoyError("lab.not-a-lab", "there is no such directory", at: .path(path), kind: .usage)
    }
    guard fileExists("\(real)/\(markerName)") else { throw notALab(real) }
    return try locked(real)
  }

  private static func locked(_ path: String) throws -> LabDirectory {
    guard let real = realPath(path) else { throw systemError("find", path) }
    let file = Glibc.open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard file >= 0 else { throw systemError("open", real) }
    // A command that was killed a moment ago may hold the lock until the last of its threads has ended.
    guard waitUntil(.after(.seconds(2)), { flock(file, LOCK_EX | LOCK_NB) == 0 }) else {
      close(file)
      throw ConvoyError(
        "lab.busy", "another pgconvoy lab command works on this directory", at: .path(real),
        hint: "wait for it to end")
    }
    return LabDirectory(path: real, lock: file)
  }

  private static func notALab(_ path: String) -> ConvoyError {
    ConvoyError(
      "lab.not-a-lab", "the directory is not a lab: it has no \(markerName)", at: .path(path),
      hint: "name the directory that was given to 'pgconvoy lab up --dir DIR'", kind: .usage)
  }

  /// Reads the marker of a lab, without a lock.
  static func describe(_ path: String) throws -> LabDescription {
    guard let real = realPath(path), let bytes = readBytes("\(real)/\(markerName)") else { throw notALab(path) }
    let lab: LabDescription
    do {
      lab = try JSONDecoder().decode(LabDescription.self, from: Data(bytes))
    } catch {
      throw ConvoyError(
        "lab.unreadable", "the lab's \(markerName) cannot be read", at: .path(real), cause: String(describing: error),
        kind: .usage)
    }
    // What is removed later is derived from the marker: it must speak of this directory.
    let isID =
      lab.id.count == 12
      && lab.id.utf8.allSatisfy {
        UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || UInt8(ascii: "a")...UInt8(ascii: "f") ~= $0
      }
    guard lab.version == 1, isID, lab.directory == real, lab.storage == real || lab.storage == storage(labID: lab.id)
    else {
      throw ConvoyError(
        "lab.unreadable", "the lab's \(markerName) is of another directory, \(lab.directory)", at: .path(real),
        hint: "a lab cannot be moved or copied", kind: .usage)
    }
    return lab
  }

  /// The marker's content; nil for an empty directory.
  func read() throws -> LabDescription? {
    fileExists("\(path)/\(Self.markerName)") ? try Self.describe(path) : nil
  }

  func write(_ lab: LabDescription) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let text: String
    do { text = String(decoding: try encoder.encode(lab), as: UTF8.self) } catch {
      throw ConvoyError("lab.file", "cannot encode the lab's description: \(error)", at: .path(path))
    }
    try writeFile("\(path)/\(Self.markerName)", text + "\n")
  }

  // MARK: storage

  /// Where the hosts' files go when the lab's own directory cannot hold them. Its name follows from the lab's id,
  /// which is written down before the directory is made: a killed `lab up` leaves none that nobody knows.
  static func storage(labID: String) -> String { "/var/tmp/pgconvoy-lab-\(labID)" }

  /// True when the hosts' files can be in the lab's own directory: PostgreSQL's user gets there, a Unix socket's
  /// path fits, and the path needs no quoting in any configuration file.
  static func canHoldHosts(_ path: String, account: Account) throws -> Bool {
    let plain = path.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "-"), UInt8(ascii: "+"):
        true
      default: false
      }
    }
    let socketPath = path + "/hosts/\(LabDescription.sourceName)/run/.s.PGSQL.65535"
    guard plain, socketPath.utf8.count <= 107 else { return false }
    guard geteuid() == 0, account.uid != 0 else { return true }
    return try ChildProcess.run("/usr/bin/test", ["-x", path], as: account).status == 0
  }
}
