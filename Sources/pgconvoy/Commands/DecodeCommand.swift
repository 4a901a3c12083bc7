import ArgumentParser
import Glibc
import LogicalDecoding
import ReplicationModel

/// `pgconvoy decode`: test_decoding text in, one JSON object a line out.
struct DecodeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "decode",
    abstract: "Read test_decoding text on standard input and write one JSON object a line.",
    discussion: "The input is what pg_recvlogical writes. See docs/reference/decode.md for the objects.")

  @OptionGroup var log: LogOptions

  func run() throws {
    var pipeline = DecodePipeline()
    var output: [UInt8] = []
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 16)
    defer { buffer.deallocate() }
    do {
      while true {
        let count = read(STDIN_FILENO, buffer.baseAddress, buffer.count)
        if count < 0 && errno == EINTR { continue }
        if count < 0 { throw Self.unreadable(errno) }
        if count == 0 { break }
        try pipeline.feed(UnsafeRawBufferPointer(rebasing: buffer[..<count]), to: &output)
        Terminal.output(bytes: output)
        try Terminal.checkOutput()
        output.removeAll(keepingCapacity: true)
      }
      try pipeline.finish(to: &output)
    } catch let error as DecodeInputError {
      Terminal.output(bytes: output)
      throw error.convoyError
    }
    Terminal.output(bytes: output)
  }

  private static func unreadable(_ reason: Int32) -> ConvoyError {
    ConvoyError(
      "decode.unreadable", "cannot read standard input: \(String(cString: strerror(reason)))",
      hint: "give it a file or a pipe: pgconvoy decode < changes.txt", kind: .usage)
  }
}
