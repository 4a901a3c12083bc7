import Glibc

/// A pipe that lets one thread end another one's `poll(2)`.
///
/// (A pipe and not an eventfd, because Swift's Glibc module does not carry `sys/eventfd.h`.)
public final class WakeUp: Sendable {
  /// Readable from the first `signal()` after the last `drain()`.
  public let fileDescriptor: Int32
  private let writeEnd: Int32

  public init() {
    var ends: (Int32, Int32) = (-1, -1)
    let status = withUnsafeMutableBytes(of: &ends) { bytes in
      pipe(bytes.baseAddress!.assumingMemoryBound(to: Int32.self))
    }
    precondition(status == 0, "pipe failed: \(String(cString: strerror(errno)))")
    (fileDescriptor, writeEnd) = ends
    for end in [fileDescriptor, writeEnd] {
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
    }
  }

  deinit {
    close(fileDescriptor)
    close(writeEnd)
  }

  /// Safe from any thread and from a signal handler. A full pipe is as good as one more byte in it.
  public func signal() {
    var byte: UInt8 = 1
    _ = write(writeEnd, &byte, 1)
  }

  public func drain() {
    var bytes: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    while read(fileDescriptor, &bytes, MemoryLayout.size(ofValue: bytes)) == MemoryLayout.size(ofValue: bytes) {}
  }
}

/// Waits until one of the descriptors is ready or the deadline passes.
///
/// Returns the ready events per descriptor, all zero on a time-out or a signal.
public func poll(
  _ descriptors: [(fileDescriptor: Int32, events: Int16)], until deadline: Deadline
) -> [Int16] {
  withUnsafeTemporaryAllocation(of: pollfd.self, capacity: descriptors.count) { buffer in
    for (index, descriptor) in descriptors.enumerated() {
      buffer[index] = pollfd(fd: descriptor.fileDescriptor, events: descriptor.events, revents: 0)
    }
    let ready = Glibc.poll(buffer.baseAddress, nfds_t(descriptors.count), deadline.pollTimeout)
    return ready > 0 ? buffer.map(\.revents) : [Int16](repeating: 0, count: descriptors.count)
  }
}
