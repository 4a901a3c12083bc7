package import Glibc
package import Lab

/// A directory of a test's own below /tmp, removed with the object.
package final class TemporaryDirectory: Sendable {
  package let path: String

  /// - Parameters:
  ///   - purpose: a word of the directory's name, `pgconvoy-PURPOSE.aB3xYz`. `./test` looks for what is left of those.
  ///   - mode: 0755 where another user has to get in.
  ///   - owner: takes effect where root runs the tests.
  package init(_ purpose: String = "test", mode: mode_t = 0o700, owner: Account? = nil) throws {
    var template = Array("/tmp/pgconvoy-\(purpose).XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw TestFailure("mkdtemp: \(String(cString: strerror(errno)))") }
    path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    guard chmod(path, mode) == 0 else { throw TestFailure("chmod \(path): \(String(cString: strerror(errno)))") }
    if let owner, geteuid() == 0, chown(path, owner.uid, owner.gid) != 0 {
      throw TestFailure("chown \(path): \(String(cString: strerror(errno)))")
    }
  }

  deinit { remove() }

  /// Removes it now, where something else may hold the object for a moment longer.
  package func remove() {
    if fileExists(path) { try? removeTree(path) }
  }

  /// Writes or replaces a file of the directory, and returns its path.
  @discardableResult
  package func write(_ text: String, to name: String, mode: mode_t = 0o644) throws -> String {
    let file = "\(path)/\(name)"
    try writeFile(file, text, mode: mode)
    return file
  }

  /// A file of the directory, as UTF-8.
  package func read(_ name: String) throws -> String { try readText("\(path)/\(name)") }

  package func exists(_ name: String) -> Bool { fileExists("\(path)/\(name)") }
}
