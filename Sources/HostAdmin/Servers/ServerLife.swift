import Inventory
import RemoteHost
import ReplicationModel

/// Stopping and starting. A shutdown checkpoint, or the replay up to where a copy is consistent, takes as long as it
/// takes: both wait as long as the server gets on with it, and give up only when it has not for `limit`.
extension ServerControl {
  /// How long a server may do nothing at all.
  package static let patience = Duration.seconds(120)

  /// A clean stop. Nothing to do when it does not run.
  package func stop(within limit: Duration = Self.patience) async throws {
    if try await isRunning() { try await stopRunning(within: limit) }
  }

  /// As `stop`, where it is known to run.
  ///
  /// - Parameter tell: told what it is at, where that takes long.
  package func stopRunning(
    within limit: Duration = Self.patience, tell: @escaping @Sendable (String) -> Void = { _ in }
  ) async throws {
    let command = stopCommand(within: limit)
    let outcome = try await outcome(of: command, within: limit)
    if case .failed(let error) = outcome { throw error }
    if case .done = outcome, unit == nil { return }
    try await waitUntil(
      within: limit,
      gettingOn: { try await self.signOfLife(tell, "stop") },
      orThrow: {
        ConvoyError(
          "host.postgres-not-stopped",
          unit == nil
            ? "PostgreSQL on \(dataDirectory) was told to stop, still runs, and has done nothing for \(limit)"
            : "PostgreSQL on \(dataDirectory) still runs after its manager stopped it",
          at: .host(host.name),
          hint: unit == nil
            ? "look at its log: what does it wait for?" : "is postgres.service of that host the one that runs it?")
      }
    ) { try await !isRunning() }
  }

  /// Starts the server and waits until it takes connections.
  package func start(within limit: Duration = Self.patience) async throws {
    if try await !isRunning() { try await startStopped(within: limit) }
  }

  /// As `start`, where it is known not to run.
  package func startStopped(
    within limit: Duration = Self.patience, tell: @escaping @Sendable (String) -> Void = { _ in }
  ) async throws {
    let outcome = try await outcome(of: startCommand(within: limit), within: limit)
    if case .done = outcome, unit == nil { return }
    if case .failed(let error) = outcome { throw await notStarted(error) }
    // A manager answers before the server takes connections.
    var wasThere = false
    try await waitUntil(
      within: limit,
      gettingOn: { try await self.signOfLife(tell, "start") },
      orThrow: {
        ConvoyError(
          "host.postgres-start-failed",
          "PostgreSQL on \(dataDirectory) does not take connections, and has done nothing for \(limit)",
          at: .host(host.name),
          hint: unit == nil ? "look at \(startLog) on that host" : "look at the log of its service on that host")
      }
    ) {
      if try await isReady() { return true }
      let isThere = try await isRunning()
      if wasThere, !isThere { throw await notStarted(nil) }
      wasThere = isThere
      return false
    }
  }

  private enum Outcome {
    case done
    /// Whoever was told to do it has waited for as long as it does, and the server goes on.
    case underWay
    case failed(ConvoyError)
  }

  private func outcome(of command: RemoteCommand, within limit: Duration) async throws -> Outcome {
    let began = ContinuousClock.now
    do {
      try await remote.runChecked(command)
      return .done
    } catch let error as ConvoyError where error.code == "host.deadline" {
      return .underWay
    } catch let error as ConvoyError where error.code == "host.command-failed" {
      // pg_ctl waits that long, runit half a minute.
      let waits = unit == nil ? limit : min(limit, .seconds(30))
      return began.duration(to: .now) >= waits ? .underWay : .failed(error)
    }
  }

  private func notStarted(_ error: ConvoyError?) async -> ConvoyError {
    let tail = try? await remote.run(shell("tail -n 5 -- \"$1\"", [startLog]).asking).text
    return ConvoyError(
      "host.postgres-start-failed", "PostgreSQL on \(dataDirectory) did not start", at: .host(host.name),
      hint: unit == nil ? "look at \(startLog) on that host" : "look at the log of its service on that host",
      cause: tail.flatMap { $0.isEmpty ? nil : $0 } ?? error?.cause)
  }

  /// Whether the server takes connections: the last line of postmaster.pid says so.
  private func isReady() async throws -> Bool {
    let status = try await remote.run(shell("sed -n 8p -- \"$1\"", [dataDirectory + "/postmaster.pid"]).asking)
    return status.text.hasPrefix("ready") || status.text.hasPrefix("standby")
  }

  /// Another text whenever the server has got on: how many processes it has, which WAL file it replays, and how much its
  /// recovery and its checkpointer have computed and read or written, by half a second and 16 MB. What a process does that
  /// only waits for something is less than that.
  package func signOfLife() async throws -> String {
    try await ask(Self.life, [dataDirectory], label: "looking how the server gets on")
  }

  private func signOfLife(_ tell: (String) -> Void, _ verb: String) async throws -> String {
    let sign = try await signOfLife()
    let work = sign.split(separator: "\n").dropFirst().map(String.init)
    tell("PostgreSQL takes its time to \(verb)" + (work.isEmpty ? "" : ": " + work.joined(separator: ", ")))
    return sign
  }

  private static let life = """
    LC_ALL=C; export LC_ALL
    IFS= read -r parent 2>/dev/null <"$1/postmaster.pid" && cd /proc || exit 0
    count=0; work=0; titles=
    for s in [0-9]*/stat; do
      IFS= read -r line 2>/dev/null <"$s" || continue
      set -- ${line##*) }
      [ "$2" = "$parent" ] || continue
      count=$((count + 1)); cpu=$((${12} + ${13})); bytes=0
      title=$(tr "\\000" " " <"${s%/stat}/cmdline")
      case $title in
        *": startup"* | *": checkpointer"*) ;;
        *) continue ;;
      esac
      while read -r key value; do
        case $key in rchar: | wchar: | write_bytes:) bytes=$((bytes + value)) ;; esac
      done <"${s%/stat}/io"
      work="$work $((cpu / 50)) $((bytes >> 24))"
      case $title in *recovering*) titles="$titles
    recovery is at ${title##*recovering }" ;; esac
    done 2>/dev/null
    printf "%s %s%s\\n" "$count" "$work" "$titles"
    """
}
