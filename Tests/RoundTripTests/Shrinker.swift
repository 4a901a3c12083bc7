import BlockingIO

/// Makes a failing case smaller for as long as it goes on failing.
struct Shrinker {
  let deadline: Deadline
  let isFailing: (RandomCase) -> Bool
  private(set) var tries = 0

  init(until deadline: Deadline, isFailing: @escaping (RandomCase) -> Bool) {
    self.deadline = deadline
    self.isFailing = isFailing
  }

  /// Takes away what is not needed: transactions, statements, definitions, settings; again and again, since less of the
  /// one needs less of the other. The answer fails; so must the case that is given.
  mutating func shrink(_ failing: RandomCase) -> RandomCase {
    var smallest = failing
    var before: RandomCase?
    while before != smallest && !deadline.hasPassed {
      before = smallest
      reduce(\.units, of: &smallest)
      for unit in smallest.units.indices {
        reduce(\.units[unit].transactions, of: &smallest)
        for transaction in smallest.units[unit].transactions.indices {
          reduce(\.units[unit].transactions[transaction].steps, of: &smallest)
          reduce(\.units[unit].transactions[transaction].settings, of: &smallest)
        }
      }
      reduce(\.sourceSettings, of: &smallest)
      reduce(\.targetSettings, of: &smallest)
      // From the end: a definition's dependants stand behind it.
      reduce(\.definitions.backward, of: &smallest)
    }
    return smallest
  }

  /// Leaves out halves, then quarters, and so on to single elements.
  private mutating func reduce<Element>(_ part: WritableKeyPath<RandomCase, [Element]>, of smallest: inout RandomCase) {
    var size = max((smallest[keyPath: part].count + 1) / 2, 1)
    while true {
      var start = 0
      var hasShrunk = false
      while start < smallest[keyPath: part].count, !deadline.hasPassed {
        var candidate = smallest
        let end = min(start + size, candidate[keyPath: part].count)
        candidate[keyPath: part].removeSubrange(start..<end)
        tries += 1
        if isFailing(candidate) {
          smallest = candidate
          hasShrunk = true
        } else {
          start = end
        }
      }
      if size == 1 && !hasShrunk || deadline.hasPassed || smallest[keyPath: part].isEmpty { return }
      size = max(size / 2, 1)
    }
  }
}

extension [String] {
  fileprivate var backward: [String] {
    get { reversed() }
    set { self = newValue.reversed() }
  }
}
