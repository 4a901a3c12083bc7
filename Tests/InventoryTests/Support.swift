import Inventory
import ReplicationModel
import Testing

let someone = LocalUser(name: "ada", home: "/home/ada")

/// A complete inventory, one line a fact, that tests put their mistake into.
let good = """
  hosts:
    old: { address: 10.0.0.1 }
    new: { address: 10.0.0.2 }
  migrations:
    one: { source: old, target: new }
  """

func parse(_ text: String) throws -> FleetInventory {
  try FleetInventory.parse(text, path: "/srv/fleet/inventory.yml", user: someone)
}

/// What a person reads: every error of a text, without the directory.
func errors(in text: String) -> String {
  do {
    _ = try FleetInventory.parse(text, path: "inventory.yml", user: someone)
    return "no error"
  } catch {
    for one in error.errors { #expect(one.exitStatus == 2) }
    return error.description
  }
}
