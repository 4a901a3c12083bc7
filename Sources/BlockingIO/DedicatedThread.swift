import Glibc

/// One operating-system thread that runs the jobs of an actor, so that calls into blocking C libraries never occupy
/// Swift's cooperative pool.
///
/// An actor that owns such a library's handle returns this executor from `unownedExecutor`; all of its isolated code
/// then runs on this thread, in order. The thread ends when the executor is released and its queue is empty.
public final class DedicatedThread: SerialExecutor {
  private let state: State

  public init(name: String) {
    state = State()
    let state = self.state
    startThread(name: name) { state.run() }
  }

  deinit {
    state.stop()
  }

  public func enqueue(_ job: consuming ExecutorJob) {
    let unowned = UnownedJob(job)
    state.append(unowned, executor: asUnownedSerialExecutor())
  }

  public func asUnownedSerialExecutor() -> UnownedSerialExecutor {
    UnownedSerialExecutor(ordinary: self)
  }

  /// The queue that the thread works through. `@unchecked Sendable`: every access to `jobs` and `stopped` is made
  /// with `condition` locked.
  private final class State: @unchecked Sendable {
    private let condition = ConditionVariable()
    private var jobs: [(UnownedJob, UnownedSerialExecutor)] = []
    private var stopped = false

    func append(_ job: UnownedJob, executor: UnownedSerialExecutor) {
      condition.lock()
      jobs.append((job, executor))
      condition.signal()
      condition.unlock()
    }

    func stop() {
      condition.lock()
      stopped = true
      condition.signal()
      condition.unlock()
    }

    func run() {
      while true {
        condition.lock()
        while jobs.isEmpty && !stopped { condition.wait() }
        let ready = jobs
        jobs.removeAll(keepingCapacity: true)
        condition.unlock()
        if ready.isEmpty { return }
        for (job, executor) in ready { job.runSynchronously(on: executor) }
      }
    }
  }
}

/// Starts a detached thread. The name is cut to the 15 bytes that Linux keeps.
public func startThread(name: String, _ body: @escaping @Sendable () -> Void) {
  let box = Unmanaged.passRetained(ThreadBody(name: name, body: body))
  var attributes = pthread_attr_t()
  pthread_attr_init(&attributes)
  pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
  pthread_attr_setstacksize(&attributes, 2 << 20)
  var thread = pthread_t()
  let status = pthread_create(
    &thread, &attributes,
    { pointer in
      let box = Unmanaged<ThreadBody>.fromOpaque(pointer!).takeRetainedValue()
      nameThisThread(box.name)
      box.body()
      return nil
    }, box.toOpaque())
  pthread_attr_destroy(&attributes)
  precondition(status == 0, "pthread_create failed: \(String(cString: strerror(status)))")
}

/// Shown by `ps -L` and `top -H`. (`pthread_setname_np` is a GNU extension that Swift's Glibc module leaves out.)
private func nameThisThread(_ name: String) {
  let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
  guard file >= 0 else { return }
  _ = write(file, name, min(name.utf8.count, 15))
  close(file)
}

private final class ThreadBody {
  let name: String
  let body: @Sendable () -> Void
  init(name: String, body: @escaping @Sendable () -> Void) {
    self.name = name
    self.body = body
  }
}

/// Runs a blocking call on a thread of its own and waits for it without blocking the caller's executor.
public func onDedicatedThread<Result: Sendable>(
  _ name: String, _ body: @escaping @Sendable () throws -> Result
) async throws -> Result {
  try await withCheckedThrowingContinuation { continuation in
    startThread(name: name) {
      continuation.resume(with: Swift.Result { try body() })
    }
  }
}
