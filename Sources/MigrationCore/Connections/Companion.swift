/// What goes on beside the steps of a play, from one step to a later one: a watch over a side that is closed.
package protocol Companion: AnyObject, Sendable {
  /// Returns when nothing goes on any more.
  func end() async
}
