import Lab

/// The repository's root, without a slash at its end, for the files that are shipped.
package let repositoryRoot = #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 }

/// A program as it was built, beside the test runner: `pgconvoy`, `LabProgram`.
package func builtProgram(_ name: String) -> String {
  let runner = realPath("/proc/self/exe") ?? ""
  return runner.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 } + "/" + name
}
