package admin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// jsonStream writes a JSON document piece by piece, laid out as Envoy's: one space for each level. It holds one piece at a time, so
// that a document may be larger than what memory there is for it. The first error ends the writing.
type jsonStream struct {
	out *bufio.Writer
	// more tells for each open object and list whether it holds something already.
	more []bool
	err  error
}

// streamBuffer is how much is sent at once.
const streamBuffer = 32 << 10

func newJSONStream(w io.Writer) *jsonStream {
	return &jsonStream{out: bufio.NewWriterSize(w, streamBuffer)}
}

func (j *jsonStream) text(s string) {
	if j.err == nil {
		_, j.err = j.out.WriteString(s)
	}
}

// next begins an entry of the innermost object or list, on a line of its own.
func (j *jsonStream) next(name string) {
	if depth := len(j.more); depth > 0 {
		if j.more[depth-1] {
			j.text(",")
		}
		j.more[depth-1] = true
		j.text("\n" + spaces(depth))
	}
	if name != "" {
		j.text(`"` + name + `": `)
	}
}

// open begins an object or a list, under a name inside objects.
func (j *jsonStream) open(name, bracket string) {
	j.next(name)
	j.text(bracket)
	j.more = append(j.more, false)
}

// end closes the innermost object or list.
func (j *jsonStream) end(bracket string) {
	last := len(j.more) - 1
	if j.more[last] {
		j.text("\n" + spaces(last))
	}
	j.more = j.more[:last]
	j.text(bracket)
}

// value writes a compact JSON value as an entry.
func (j *jsonStream) value(name string, compact []byte) {
	j.next(name)
	j.indented(compact)
}

// fields writes the fields of a compact JSON object into the present object.
func (j *jsonStream) fields(compact []byte) {
	if len(compact) <= len("{}") {
		return
	}
	j.next("")
	var out bytes.Buffer
	if err := json.Indent(&out, compact, spaces(len(j.more)-1), " "); err != nil {
		j.fail(err)
		return
	}
	// What is between the braces has its own first and last line breaks, which are written already or follow.
	inner := bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimPrefix(out.Bytes(), []byte("{")), []byte("}")))
	j.text(string(inner))
}

func (j *jsonStream) indented(compact []byte) {
	var out bytes.Buffer
	if err := json.Indent(&out, compact, spaces(len(j.more)), " "); err != nil {
		j.fail(err)
		return
	}
	if j.err == nil {
		_, j.err = j.out.Write(out.Bytes())
	}
}

func (j *jsonStream) fail(err error) {
	if j.err == nil {
		j.err = fmt.Errorf("indent JSON: %w", err)
	}
}

// list writes a repeated field, element by element; an empty one is left out, as protobuf's JSON does.
func (j *jsonStream) list(name string, elements iter.Seq[proto.Message]) {
	opened := false
	for m := range elements {
		if !opened {
			j.open(name, "[")
			opened = true
		}
		compact, err := printable(m)
		if err != nil {
			j.fail(err)
		}
		if j.err != nil {
			return
		}
		j.value("", compact)
	}
	if opened {
		j.end("]")
	}
}

// finish ends the document with a line break, as Envoy does, and gives the first error.
func (j *jsonStream) finish() error {
	j.text("\n")
	if j.err != nil {
		return j.err
	}
	return j.out.Flush()
}

// printable is a message as compact JSON. A rejected resource may hold what cannot be printed, such as a duration out of range;
// then, and only then, each packed message is tried by itself, and those that cannot be printed are shown by their type alone.
func printable(m proto.Message) ([]byte, error) {
	out, err := protoyaml.Marshal(m, "")
	if err == nil {
		return out, nil
	}
	copied := proto.Clone(m)
	emptyUnprintable(copied.ProtoReflect())
	if out, err = protoyaml.Marshal(copied, ""); err != nil {
		return nil, fmt.Errorf("print configuration: %w", err)
	}
	return out, nil
}

// spaces is the indentation at a depth.
func spaces(depth int) string {
	const deep = "                                "
	if depth <= len(deep) {
		return deep[:max(depth, 0)]
	}
	return string(bytes.Repeat([]byte{' '}, depth))
}
