import Glibc

/// A process that a later process can recognise: a pid alone may long belong to another one.
struct ProcessIdentity: Sendable, Equatable, Decodable {
  var host: String
  var pid: Int32
  /// `/proc/sys/kernel/random/boot_id`: one value from a machine's start to its end.
  var boot: String
  /// When the process started, in clock ticks since the boot; empty when it could not be read.
  var startTicks: String

  static func current() -> ProcessIdentity {
    let pid = getpid()
    return ProcessIdentity(host: hostName(), pid: pid, boot: bootID(), startTicks: startTicks(of: pid) ?? "")
  }

  enum Life { case alive, dead, unknown }

  /// Whether the process lives, as far as this machine can tell.
  func life(seenFrom observer: ProcessIdentity = .current()) -> Life {
    if boot == observer.boot {
      // Containers on one kernel have host names and pids of their own.
      guard host == observer.host else { return .unknown }
      guard let ticks = Self.startTicks(of: pid) else { return .dead }
      return startTicks.isEmpty || ticks == startTicks ? .alive : .dead
    }
    return host == observer.host ? .dead : .unknown
  }

  private static func bootID() -> String {
    readSmallFile("/proc/sys/kernel/random/boot_id").map { String($0.prefix { $0 != "\n" }) } ?? ""
  }

  /// Field 22 of /proc/PID/stat; nil when there is no such process. The command in field 2 may hold anything, so
  /// fields are counted from its closing parenthesis.
  private static func startTicks(of pid: Int32) -> String? {
    guard let line = readSmallFile("/proc/\(pid)/stat"), let end = line.lastIndex(of: ")") else { return nil }
    let fields = line[line.index(after: end)...].split(separator: " ")
    // A zombie holds nothing any more.
    guard fields.count > 19, fields[0] != "Z" else { return nil }
    return String(fields[19])
  }
}

/// Who works on this machine, for records of who did what: `user@host`.
public func operatorName() -> String { userName() + "@" + hostName() }

public func hostName() -> String {
  var name = [CChar](repeating: 0, count: 256)
  guard gethostname(&name, name.count - 1) == 0 else { return "localhost" }
  return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

public func userName() -> String {
  let user = geteuid()
  var entry = passwd()
  var found: UnsafeMutablePointer<passwd>?
  var buffer = [CChar](repeating: 0, count: 16_384)
  guard getpwuid_r(user, &entry, &buffer, buffer.count, &found) == 0, found != nil, let name = entry.pw_name else {
    return String(user)
  }
  return String(cString: name)
}

/// The first 4 KiB of a file as text; nil when it cannot be read.
func readSmallFile(_ path: String) -> String? {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  var bytes = [UInt8](repeating: 0, count: 4096)
  let count = read(descriptor, &bytes, bytes.count)
  guard count >= 0 else { return nil }
  return String(decoding: bytes.prefix(count), as: UTF8.self)
}
