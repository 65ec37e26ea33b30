package pin

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Layout is the version of a set of maps and of the programs that share them: a hash of the maps' types, sizes and flags, of
// every member of their keys and values, of the names of the programs and of an epoch, which is counted up by hand when the
// meaning of something changes and its shape does not. Two daemons with the same layout can use each other's maps.
func Layout(epoch int, specs map[string]*ebpf.MapSpec, programs []string) string {
	h := sha256.New()
	fmt.Fprintf(h, "epoch %d\n", epoch)
	for _, name := range slices.Sorted(maps.Keys(specs)) {
		s := specs[name]
		fmt.Fprintf(h, "map %s %d %d %d %d %d\n", name, s.Type, s.KeySize, s.ValueSize, s.MaxEntries, s.Flags)
		describe(h, s.Key, 0)
		describe(h, s.Value, 0)
	}
	for _, name := range slices.Sorted(slices.Values(programs)) {
		fmt.Fprintf(h, "program %s\n", name)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// deepest bounds the recursion: the types of map values hold no pointers, and so no cycles.
const deepest = 16

// describe writes the shape of a type.
func describe(w io.Writer, t btf.Type, depth int) {
	if t == nil || depth > deepest {
		return
	}
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		fmt.Fprintf(w, "struct %s %d\n", t.Name, t.Size)
		members(w, t.Members, depth)
	case *btf.Union:
		fmt.Fprintf(w, "union %s %d\n", t.Name, t.Size)
		members(w, t.Members, depth)
	case *btf.Array:
		fmt.Fprintf(w, "array %d\n", t.Nelems)
		describe(w, t.Type, depth+1)
	case *btf.Int:
		fmt.Fprintf(w, "int %d %d\n", t.Size, t.Encoding)
	case *btf.Enum:
		fmt.Fprintf(w, "enum %s %d\n", t.Name, t.Size)
	default:
		fmt.Fprintf(w, "%T\n", t)
	}
}

func members(w io.Writer, all []btf.Member, depth int) {
	for _, m := range all {
		fmt.Fprintf(w, "member %s %d %d\n", m.Name, m.Offset, m.BitfieldSize)
		describe(w, m.Type, depth+1)
	}
}
