package message

import "encoding/binary"

// maxIDName is the length in bytes of the longest well-known name, rounded up to whole words.
const maxIDName = 40

// idWord is a well-known name as the parser compares it: eight bytes at a time.
type idWord struct {
	n    int
	name [maxIDName]byte
}

// idTable finds an ID by the hash of the lower-case name; open addressing, read only. idWords is indexed by ID.
var (
	idTable = buildIDTable()
	idWords = buildIDWords()
)

const idTableSize = 1024

func buildIDTable() (t [idTableSize]ID) {
	for id := Other + 1; id < idCount; id++ {
		i := hashName(idNames[id])
		for t[i] != Other {
			i = (i + 1) % idTableSize
		}
		t[i] = id
	}
	return t
}

func buildIDWords() (t [idCount]idWord) {
	for id, name := range idNames {
		t[id].n = copy(t[id].name[:], name)
	}
	return t
}

// fold turns upper-case letters into lower-case ones. It leaves digits and "-" alone; other bytes of a token do not become
// part of a well-known name by it.
const fold = 0x20

// hashName mixes the length and a few letters. The factors were searched for: well-known names do not collide, or hardly.
func hashName(name string) uint32 {
	n := len(name)
	return (uint32(n) + uint32(name[0]|fold)*25 + uint32(name[n/2]|fold)*33 + uint32(name[n-1]|fold) +
		uint32(name[n*3/4]|fold)*7) % idTableSize
}

func hashToken(name []byte) uint32 {
	n := len(name)
	return (uint32(n) + uint32(name[0]|fold)*25 + uint32(name[n/2]|fold)*33 + uint32(name[n-1]|fold) +
		uint32(name[n*3/4]|fold)*7) % idTableSize
}

// IDOf returns the ID of a name in any case, Other when it is not well known.
func IDOf(name string) ID {
	if name == "" {
		return Other
	}
	for i := hashName(name); idTable[i] != Other; i = (i + 1) % idTableSize {
		if equalFold(idNames[idTable[i]], name) {
			return idTable[i]
		}
	}
	return Other
}

// IDOfToken is IDOf for a name of which the caller knows that it is a token (RFC 9110 section 5.6.2) and not empty. It is
// made for parsers.
func IDOfToken(name []byte) ID {
	for i := hashToken(name); ; i = (i + 1) % idTableSize {
		id := idTable[i]
		if id == Other || idWords[id].is(name) {
			return id
		}
	}
}

// is compares with a token of any case.
func (w *idWord) is(b []byte) bool {
	const fold4, fold8 = fold * 0x01010101, fold * 0x0101010101010101
	n := w.n
	if len(b) != n {
		return false
	}
	le := binary.LittleEndian
	if n >= 8 {
		for i := 0; i+8 <= n; i += 8 {
			if le.Uint64(b[i:])|fold8 != le.Uint64(w.name[i:]) {
				return false
			}
		}
		return le.Uint64(b[n-8:])|fold8 == le.Uint64(w.name[n-8:])
	}
	if n >= 4 {
		return le.Uint32(b)|fold4 == le.Uint32(w.name[:]) && le.Uint32(b[n-4:])|fold4 == le.Uint32(w.name[n-4:])
	}
	for i := range b {
		if b[i]|fold != w.name[i] {
			return false
		}
	}
	return true
}

// lower maps ASCII letters to lower case and everything else to itself; read only.
var lower = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if 'A' <= i && i <= 'Z' {
			t[i] = byte(i) + 'a' - 'A'
		}
	}
	return t
}()
