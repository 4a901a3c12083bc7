/// Applies the body to every item, at most `limit` at a time, and keeps the items' order. The first error ends it all.
package func mapConcurrently<Item: Sendable, Value: Sendable>(
  _ items: [Item], limit: Int, _ body: @escaping @Sendable (Item) async throws -> Value
) async throws -> [Value] {
  try await withThrowingTaskGroup(of: (Int, Value).self) { group in
    var values = [Value?](repeating: nil, count: items.count)
    for index in items.indices {
      if index >= limit, let (done, value) = try await group.next() { values[done] = value }
      let item = items[index]
      group.addTask { (index, try await body(item)) }
    }
    for try await (done, value) in group { values[done] = value }
    return values.compactMap { $0 }
  }
}
