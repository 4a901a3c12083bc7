import Glibc
import ReplicationModel

/// Two neighbouring loopback addresses for a lab that starts.
///
/// Until the lab's servers listen, nothing but an abstract Unix socket (of the same network namespace as the
/// addresses, gone with its process) keeps another `lab up` from choosing the same. Its name is the pair's.
final class LoopbackAddresses: Sendable {
  let addresses: [String]
  private let claim: Int32

  private init(addresses: [String], claim: Int32) {
    self.addresses = addresses
    self.claim = claim
  }

  deinit { close(claim) }

  /// The first pair of 127.0.1.0/24 on which every port is free.
  static func claim(ports: [Int]) throws -> LoopbackAddresses {
    for first in stride(from: 1, to: 254, by: 2) {
      let addresses = ["127.0.1.\(first)", "127.0.1.\(first + 1)"]
      guard let claim = lock("pgconvoy-lab/\(addresses[0])") else { continue }
      if addresses.allSatisfy({ address in ports.allSatisfy { isFree(address, port: $0) } }) {
        return LoopbackAddresses(addresses: addresses, claim: claim)
      }
      close(claim)
    }
    throw ConvoyError(
      "lab.no-address",
      "no two addresses of 127.0.1.0/24 have ports \(ports.map(String.init).joined(separator: ", ")) free",
      hint: "end a lab that is no longer needed with 'pgconvoy lab down --dir DIR'")
  }

  private static func lock(_ name: String) -> Int32? {
    let file = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard file >= 0 else { return nil }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { path in
      // The first byte stays zero: an abstract name.
      for (index, byte) in name.utf8.enumerated() where index + 1 < path.count { path[index + 1] = byte }
    }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + 1 + name.utf8.count)
    if bind(file, to: &address, length: length) { return file }
    close(file)
    return nil
  }

  private static func isFree(_ address: String, port: Int) -> Bool {
    let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard file >= 0 else { return false }
    defer { close(file) }
    var yes: Int32 = 1
    setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = in_port_t(UInt16(port)).bigEndian
    guard inet_pton(AF_INET, address, &name.sin_addr) == 1 else { return false }
    return bind(file, to: &name, length: socklen_t(MemoryLayout<sockaddr_in>.size))
  }

  private static func bind<Address>(_ file: Int32, to address: inout Address, length: socklen_t) -> Bool {
    withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.bind(file, $0, length) == 0 }
    }
  }
}
