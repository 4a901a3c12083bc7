/// SHA-1 (FIPS 180-4), which hashed host names in known_hosts are made with. Not for anything that must resist a
/// collision.
func sha1(_ message: [UInt8]) -> [UInt8] {
  var state: [UInt32] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
  var schedule = [UInt32](repeating: 0, count: 80)
  forEachBlock(of: message) { block in
    for index in 0..<16 { schedule[index] = block[index] }
    for index in 16..<80 {
      schedule[index] = rotatedLeft(
        schedule[index - 3] ^ schedule[index - 8] ^ schedule[index - 14] ^ schedule[index - 16], 1)
    }
    var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
    for index in 0..<80 {
      let (mixed, constant): (UInt32, UInt32) =
        switch index {
        case 0..<20: ((b & c) | (~b & d), 0x5A82_7999)
        case 20..<40: (b ^ c ^ d, 0x6ED9_EBA1)
        case 40..<60: ((b & c) | (b & d) | (c & d), 0x8F1B_BCDC)
        default: (b ^ c ^ d, 0xCA62_C1D6)
        }
      let next = rotatedLeft(a, 5) &+ mixed &+ e &+ constant &+ schedule[index]
      (e, d, c, b, a) = (d, c, rotatedLeft(b, 30), a, next)
    }
    state[0] &+= a
    state[1] &+= b
    state[2] &+= c
    state[3] &+= d
    state[4] &+= e
  }
  return bigEndianBytes(state)
}

/// SHA-256 (FIPS 180-4), for the fingerprints of keys and the seals of reports.
public func sha256(_ message: [UInt8]) -> [UInt8] {
  var state: [UInt32] = [
    0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19,
  ]
  var schedule = [UInt32](repeating: 0, count: 64)
  forEachBlock(of: message) { block in
    for index in 0..<16 { schedule[index] = block[index] }
    for index in 16..<64 {
      let (early, late) = (schedule[index - 15], schedule[index - 2])
      let first = rotatedLeft(early, 25) ^ rotatedLeft(early, 14) ^ (early >> 3)
      let second = rotatedLeft(late, 15) ^ rotatedLeft(late, 13) ^ (late >> 10)
      schedule[index] = schedule[index - 16] &+ first &+ schedule[index - 7] &+ second
    }
    var work = state
    for index in 0..<64 {
      let (a, e) = (work[0], work[4])
      let choice = (e & work[5]) ^ (~e & work[6])
      let majority = (a & work[1]) ^ (a & work[2]) ^ (work[1] & work[2])
      let sumE = rotatedLeft(e, 26) ^ rotatedLeft(e, 21) ^ rotatedLeft(e, 7)
      let sumA = rotatedLeft(a, 30) ^ rotatedLeft(a, 19) ^ rotatedLeft(a, 10)
      let next = work[7] &+ sumE &+ choice &+ sha256Constants[index] &+ schedule[index]
      work = [next &+ sumA &+ majority, a, work[1], work[2], work[3] &+ next, e, work[5], work[6]]
    }
    for index in 0..<8 { state[index] &+= work[index] }
  }
  return bigEndianBytes(state)
}

/// HMAC (RFC 2104) with SHA-1.
func hmacSHA1(key: [UInt8], _ message: [UInt8]) -> [UInt8] {
  var block = key.count > 64 ? sha1(key) : key
  block += [UInt8](repeating: 0, count: 64 - block.count)
  return sha1(block.map { $0 ^ 0x5C } + sha1(block.map { $0 ^ 0x36 } + message))
}

private func rotatedLeft(_ word: UInt32, _ count: UInt32) -> UInt32 {
  (word << count) | (word >> (32 - count))
}

private func bigEndianBytes(_ words: [UInt32]) -> [UInt8] {
  words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * UInt32($0))) } }
}

/// Pads as both algorithms do: a one bit, zeros, the length in bits.
private func forEachBlock(of message: [UInt8], _ body: ([UInt32]) -> Void) {
  var padded = message + [0x80]
  padded += [UInt8](repeating: 0, count: (120 - padded.count % 64) % 64)
  let bits = UInt64(message.count) * 8
  padded += bigEndianBytes([UInt32(truncatingIfNeeded: bits >> 32), UInt32(truncatingIfNeeded: bits)])
  for start in stride(from: 0, to: padded.count, by: 64) {
    body(
      (0..<16).map { word in
        (0..<4).reduce(UInt32(0)) { ($0 << 8) | UInt32(padded[start + word * 4 + $1]) }
      })
  }
}

private let sha256Constants: [UInt32] = [
  0x428A_2F98, 0x7137_4491, 0xB5C0_FBCF, 0xE9B5_DBA5, 0x3956_C25B, 0x59F1_11F1, 0x923F_82A4, 0xAB1C_5ED5,
  0xD807_AA98, 0x1283_5B01, 0x2431_85BE, 0x550C_7DC3, 0x72BE_5D74, 0x80DE_B1FE, 0x9BDC_06A7, 0xC19B_F174,
  0xE49B_69C1, 0xEFBE_4786, 0x0FC1_9DC6, 0x240C_A1CC, 0x2DE9_2C6F, 0x4A74_84AA, 0x5CB0_A9DC, 0x76F9_88DA,
  0x983E_5152, 0xA831_C66D, 0xB003_27C8, 0xBF59_7FC7, 0xC6E0_0BF3, 0xD5A7_9147, 0x06CA_6351, 0x1429_2967,
  0x27B7_0A85, 0x2E1B_2138, 0x4D2C_6DFC, 0x5338_0D13, 0x650A_7354, 0x766A_0ABB, 0x81C2_C92E, 0x9272_2C85,
  0xA2BF_E8A1, 0xA81A_664B, 0xC24B_8B70, 0xC76C_51A3, 0xD192_E819, 0xD699_0624, 0xF40E_3585, 0x106A_A070,
  0x19A4_C116, 0x1E37_6C08, 0x2748_774C, 0x34B0_BCB5, 0x391C_0CB3, 0x4ED8_AA4A, 0x5B9C_CA4F, 0x682E_6FF3,
  0x748F_82EE, 0x78A5_636F, 0x84C8_7814, 0x8CC7_0208, 0x90BE_FFFA, 0xA450_6CEB, 0xBEF9_A3F7, 0xC671_78F2,
]

/// Base64 (RFC 4648) with padding.
func base64Encoded(_ bytes: [UInt8], padded: Bool = true) -> String {
  let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  var text: [UInt8] = []
  for start in stride(from: 0, to: bytes.count, by: 3) {
    let group = bytes[start..<min(start + 3, bytes.count)]
    let word = group.reduce(UInt32(0)) { ($0 << 8) | UInt32($1) } << (8 * UInt32(3 - group.count))
    for position in 0...group.count { text.append(alphabet[Int(word >> (18 - 6 * UInt32(position))) & 63]) }
    if padded { text += [UInt8](repeating: UInt8(ascii: "="), count: 3 - group.count) }
  }
  return String(decoding: text, as: UTF8.self)
}

/// Nil when it isn't base64; padding may be missing.
func base64Decoded(_ text: some StringProtocol) -> [UInt8]? {
  var bytes: [UInt8] = []
  var word: UInt32 = 0
  var bits = 0
  var ended = false
  for character in text.utf8 {
    let value: UInt8
    switch character {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = character - UInt8(ascii: "A")
    case UInt8(ascii: "a")...UInt8(ascii: "z"): value = character - UInt8(ascii: "a") + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): value = character - UInt8(ascii: "0") + 52
    case UInt8(ascii: "+"): value = 62
    case UInt8(ascii: "/"): value = 63
    case UInt8(ascii: "="):
      ended = true
      continue
    default: return nil
    }
    if ended { return nil }
    word = (word << 6) | UInt32(value)
    bits += 6
    if bits >= 8 {
      bits -= 8
      bytes.append(UInt8(truncatingIfNeeded: word >> UInt32(bits)))
      word &= (1 << UInt32(bits)) - 1
    }
  }
  return bits < 6 ? bytes : nil
}
