package import HostAdmin

/// Room on the target that becomes free before the copy is made.
package struct TakenRoom: Sendable, Equatable {
  /// Of the target's data directory, where `old_data: replace` lets it go; else 0.
  var oldBytes: UInt64 = 0
  /// Of an unfinished copy and what it has filled besides, by device.
  var copyBytes: [String: UInt64] = [:]
}

/// What a copy needs on the target, by file system, and what is free there.
package struct CopyRoom: Sendable {
  package struct Shortfall: Equatable {
    package var place: PathFacts
    package var wanted: UInt64
    package var free: UInt64

    package var words: String {
      "\(readableBytes(free)) free at \(place.ancestor), \(readableBytes(wanted)) needed"
    }
  }

  private var needed: [(place: PathFacts, bytes: UInt64)] = []
  private let taken: TakenRoom
  /// Where the data directory is.
  private let device: String

  /// - Parameter wal: where WAL goes; nil: into the data directory.
  package init(
    _ source: SourceSize, directory: TargetDirectory, wal: PathFacts?, tablespaces: [TablespacePlace],
    taken: TakenRoom
  ) {
    self.taken = taken
    device = directory.parent.device
    add(directory.parent, source.tablespaces.filter(\.location.isEmpty).reduce(0) { $0 + $1.bytes })
    add(wal ?? directory.parent, source.walBytes)
    for place in tablespaces { add(place.destination, place.bytes) }
  }

  private mutating func add(_ place: PathFacts, _ bytes: UInt64) {
    if let index = needed.firstIndex(where: { $0.place.device == place.device }) {
      needed[index].bytes += bytes
    } else {
      needed.append((place, bytes))
    }
  }

  /// File systems on which less is free than the copy and a tenth of it.
  package func shortfalls(withoutOldData: Bool) -> [Shortfall] {
    needed.compactMap { place, bytes in
      let wanted = bytes + bytes / 10
      var free = place.freeBytes + (taken.copyBytes[place.device] ?? 0)
      if withoutOldData, place.device == device { free += taken.oldBytes }
      return free < wanted ? Shortfall(place: place, wanted: wanted, free: free) : nil
    }
  }

}
