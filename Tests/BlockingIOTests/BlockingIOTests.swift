import BlockingIO
import Glibc
import Testing

/// Long enough for anything that happens at all, so that a broken test ends.
private func patience() -> Deadline { .after(.seconds(20)) }

@Suite struct Queues {
  @Test func areBoundedByBytes() {
    let queue = ByteBoundedQueue<Int>(capacity: 10)
    #expect(queue.isEmpty)
    #expect(queue.tryPush(1, bytes: 6))
    #expect(!queue.tryPush(2, bytes: 5))
    #expect(queue.tryPush(3, bytes: 4))
    #expect(queue.byteCount == 10)
    #expect(!queue.tryPush(4, bytes: 1))
    #expect(queue.tryPush(5, bytes: 0))
    #expect(queue.pop(until: patience()) == 1)
    #expect(queue.byteCount == 4)
    #expect(queue.tryPush(6, bytes: 6))
    #expect((0..<3).map { _ in queue.pop(until: patience()) } == [3, 5, 6])
    #expect(queue.byteCount == 0)
    #expect(queue.isEmpty)
  }

  @Test func takeOneThatIsTooLargeWhenEmpty() {
    let queue = ByteBoundedQueue<String>(capacity: 10)
    #expect(queue.tryPush("large", bytes: 1000))
    #expect(!queue.tryPush("small", bytes: 1))
    #expect(queue.pop(until: patience()) == "large")
    #expect(queue.tryPush("small", bytes: 1))
  }

  /// A queue that never runs empty would hold on to megabytes that nobody counts.
  @Test func letGoOfWhatWasTaken() {
    final class Large: Sendable {}
    let queue = ByteBoundedQueue<Large>(capacity: 10)
    weak var taken: Large?
    do {
      let element = Large()
      taken = element
      #expect(queue.tryPush(element, bytes: 1))
    }
    #expect(queue.tryPush(Large(), bytes: 1))
    #expect(taken != nil)
    do { _ = queue.pop(until: patience()) }
    #expect(taken == nil)
    #expect(queue.byteCount == 1)
  }

  @Test func giveOutWhatIsInsideAfterTheyAreClosed() {
    let queue = ByteBoundedQueue<Int>(capacity: 10)
    #expect(queue.tryPush(1, bytes: 1))
    queue.close()
    #expect(queue.isClosed)
    #expect(!queue.tryPush(2, bytes: 1))
    #expect(queue.pop(until: .never) == 1)
    #expect(queue.pop(until: .never) == nil)
  }

  @Test func endAWaitByTheirDeadlineOrTheirClosing() async throws {
    let queue = ByteBoundedQueue<Int>(capacity: 10)
    #expect(queue.pop(until: .now()) == nil)
    #expect(queue.pop(until: .after(.milliseconds(5))) == nil)
    async let popped = onDedicatedThread("popper") { queue.pop(until: patience()) }
    queue.close()
    #expect(try await popped == nil)
  }

  @Test func sayWhenThereIsRoomAgainAfterTheyRefused() {
    let wakeUp = WakeUp()
    let queue = ByteBoundedQueue<Int>(capacity: 10, roomWakeUp: wakeUp)
    for number in 0..<10 { #expect(queue.tryPush(number, bytes: 1)) }
    _ = queue.pop(until: patience())
    // Nobody was refused yet: nothing to say.
    #expect(!isReadable(wakeUp))
    #expect(queue.tryPush(10, bytes: 1))
    #expect(!queue.tryPush(11, bytes: 1))
    for _ in 0..<4 { _ = queue.pop(until: patience()) }
    #expect(!isReadable(wakeUp))
    _ = queue.pop(until: patience())
    #expect(isReadable(wakeUp))
    wakeUp.drain()
    // Said once.
    _ = queue.pop(until: patience())
    #expect(!isReadable(wakeUp))
    queue.close()
    #expect(isReadable(wakeUp))
  }

  @Test func keepTheOrderBetweenTwoThreads() async throws {
    let wakeUp = WakeUp()
    let queue = ByteBoundedQueue<Int>(capacity: 64, roomWakeUp: wakeUp)
    let count = 20_000
    async let received = onDedicatedThread("consumer") {
      var numbers: [Int] = []
      while let number = queue.pop(until: patience()) { numbers.append(number) }
      return numbers
    }
    try await onDedicatedThread("producer") {
      for number in 0..<count {
        while !queue.tryPush(number, bytes: 1 + number % 7) {
          let ready = poll([(wakeUp.fileDescriptor, Int16(POLLIN))], until: patience())
          #expect(ready == [Int16(POLLIN)])
          wakeUp.drain()
        }
      }
      queue.close()
    }
    #expect(try await received == Array(0..<count))
  }
}

@Suite struct Threads {
  actor Worker {
    let thread: DedicatedThread
    nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }
    init(_ name: String) { thread = DedicatedThread(name: name) }
    func thisThread() -> (id: UInt, name: String) { (currentThread(), currentThreadName()) }
    func directory() -> String { currentThreadDirectory() }
  }

  @Test func anActorStaysOnItsThread() async {
    let worker = Worker("convoy-test-thread-with-a-name")
    let first = await worker.thisThread()
    #expect(first.name == "convoy-test-thr")
    for _ in 0..<50 {
      await Task.yield()
      #expect(await worker.thisThread().id == first.id)
    }
    let other = Worker("other")
    #expect(await other.thisThread().id != first.id)
  }

  @Test func aThreadEndsWithItsExecutor() async throws {
    var worker: Worker? = Worker("short-lived")
    let directory = try #require(await worker?.directory())
    #expect(access(directory, F_OK) == 0)
    worker = nil
    // The kernel takes a thread's directory away when it has ended; there is no event for that to wait for.
    let deadline = patience()
    while access(directory, F_OK) == 0 && !deadline.hasPassed { await Task.yield() }
    #expect(access(directory, F_OK) != 0)
  }

  @Test func aBlockingCallRunsOnAThreadOfItsOwn() async throws {
    struct Failure: Error, Equatable {}
    #expect(try await onDedicatedThread("own") { currentThreadName() } == "own")
    await #expect(throws: Failure()) { try await onDedicatedThread("own") { throw Failure() } }
  }
}

@Suite struct Times {
  @Test func aDeadlinePasses() {
    #expect(Deadline.now().hasPassed)
    #expect(Deadline.now().remaining == .zero)
    #expect(Deadline.now().pollTimeout == 0)
    #expect(Deadline.after(.seconds(-5)).hasPassed)
    let far = Deadline.after(.seconds(1000))
    #expect(!far.hasPassed)
    #expect(far.remaining > .seconds(990) && far.remaining <= .seconds(1000))
    #expect((990_000...1_000_000).contains(far.pollTimeout))
    #expect(Deadline.now() < far && far < .never)
  }

  @Test func pollTimeoutsAreRoundedUp() {
    #expect(Deadline(nanoseconds: Deadline.now().nanoseconds + 50_000_000_000).pollTimeout <= 50_000)
    #expect(Deadline.after(.milliseconds(60_000)).pollTimeout > 0)
    #expect(Deadline.after(.seconds(100_000_000)).pollTimeout == .max)
  }

  @Test func neverIsNever() {
    #expect(!Deadline.never.hasPassed)
    #expect(Deadline.never.pollTimeout == -1)
    #expect(Deadline.after(.seconds(Int64.max / 1_000_000_000 - 1)) > .now())
  }
}

@Suite struct WakeUps {
  @Test func areReadableUntilTheyAreDrained() {
    let wakeUp = WakeUp()
    #expect(!isReadable(wakeUp))
    wakeUp.signal()
    #expect(isReadable(wakeUp))
    #expect(isReadable(wakeUp))
    wakeUp.drain()
    #expect(!isReadable(wakeUp))
    wakeUp.drain()
  }

  @Test func neverBlockHoweverOftenTheyAreSignalled() {
    let wakeUp = WakeUp()
    // More than a pipe holds.
    for _ in 0..<100_000 { wakeUp.signal() }
    #expect(isReadable(wakeUp))
    wakeUp.drain()
    #expect(!isReadable(wakeUp))
  }

  @Test func endAnotherThreadsPoll() async throws {
    let wakeUp = WakeUp()
    async let ready = onDedicatedThread("poller") {
      poll([(wakeUp.fileDescriptor, Int16(POLLIN))], until: patience())
    }
    wakeUp.signal()
    #expect(try await ready == [Int16(POLLIN)])
  }

  @Test func aPollWithoutAWakeUpTimesOut() {
    let wakeUp = WakeUp()
    let deadline = Deadline.after(.milliseconds(5))
    #expect(poll([(wakeUp.fileDescriptor, Int16(POLLIN))], until: deadline) == [0])
    #expect(deadline.hasPassed)
    #expect(poll([], until: .now()) == [])
  }
}

@Suite struct Conditions {
  @Test func aWaitEndsAtItsDeadline() {
    let condition = ConditionVariable()
    let deadline = Deadline.after(.milliseconds(5))
    condition.withLock {
      while condition.wait(until: deadline) {}
    }
    #expect(deadline.hasPassed)
    condition.withLock { #expect(!condition.wait(until: .now())) }
  }

  @Test func aBroadcastReachesEveryWaiter() async throws {
    let gate = Gate()
    try await withThrowingTaskGroup(of: Bool.self) { group in
      for _ in 0..<4 { group.addTask { try await onDedicatedThread("waiter") { gate.pass() } } }
      gate.awaitWaiters(4)
      gate.open()
      for try await passed in group { #expect(passed) }
    }
  }

  @Test func theLockIsGivenBackWhenItsBodyThrows() {
    struct Failure: Error {}
    let condition = ConditionVariable()
    #expect(throws: Failure.self) { try condition.withLock { throw Failure() } }
    condition.withLock {}
  }

  /// Opens once for all. `@unchecked Sendable`: both variables are touched with `condition` locked only.
  private final class Gate: @unchecked Sendable {
    private let condition = ConditionVariable()
    private var isOpen = false
    private var waiters = 0

    func pass() -> Bool {
      condition.withLock {
        waiters += 1
        condition.broadcast()
        while !isOpen {
          if !condition.wait(until: patience()) { return false }
        }
        return true
      }
    }

    func awaitWaiters(_ count: Int) {
      condition.withLock { while waiters < count && condition.wait(until: patience()) {} }
    }

    func open() {
      condition.withLock {
        isOpen = true
        condition.broadcast()
      }
    }
  }
}

private func isReadable(_ wakeUp: WakeUp) -> Bool {
  poll([(wakeUp.fileDescriptor, Int16(POLLIN))], until: .now()) == [Int16(POLLIN)]
}

private func currentThread() -> UInt { UInt(pthread_self()) }

private func currentThreadName() -> String {
  var name = [CChar](repeating: 0, count: 64)
  let file = open("/proc/thread-self/comm", O_RDONLY)
  defer { close(file) }
  let count = read(file, &name, 63)
  return String(decoding: name.prefix(max(0, count)).map { UInt8(bitPattern: $0) }.prefix { $0 != 10 }, as: UTF8.self)
}

/// `/proc/PID/task/TID` of the calling thread.
private func currentThreadDirectory() -> String {
  var target = [CChar](repeating: 0, count: 256)
  let count = readlink("/proc/thread-self", &target, 255)
  return "/proc/" + String(decoding: target.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
