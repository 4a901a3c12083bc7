import Presentation
import Testing

@Suite struct LineDiffTests {
  @Test func distantChangesAreHunksOfTheirOwn() {
    let old = (1...20).map(String.init).joined(separator: "\n") + "\n"
    let new = old.replacing("\n2\n", with: "\ntwo\n").replacing("\n19\n", with: "\nnineteen\n")
    #expect(
      LineDiff.unified(old: old, new: new) == [
        "@@ -1,5 +1,5 @@", " 1", "-2", "+two", " 3", " 4", " 5",
        "@@ -16,5 +16,5 @@", " 16", " 17", " 18", "-19", "+nineteen", " 20",
      ])
    #expect(LineDiff.unified(old: old, new: old) == [])
  }

  @Test func fromNothingAndToNothing() {
    #expect(LineDiff.unified(old: "", new: "a\nb\n") == ["@@ -0,0 +1,2 @@", "+a", "+b"])
    #expect(LineDiff.unified(old: "a\nb\n", new: "") == ["@@ -1,2 +0,0 @@", "-a", "-b"])
    #expect(LineDiff.unified(old: "", new: "") == [])
  }
}
