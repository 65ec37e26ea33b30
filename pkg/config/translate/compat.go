package translate

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// WriteCompatibility writes, in Markdown, what becomes of every field of the messages that weir understands: effective,
// harmless (with the reason), or not supported. Messages that are not linked into the program are left out.
func WriteCompatibility(w io.Writer) error { return writeCompatibility(w, Support()) }

// WriteCompatibility does the same with the messages of the registered extensions.
func (t *Translator) WriteCompatibility(w io.Writer) error { return writeCompatibility(w, t.table) }

// Table returns what Support does, with the messages of the registered extensions. The caller must not change it.
func (t *Translator) Table() map[protoreflect.FullName]extension.Fields { return t.table }

func writeCompatibility(w io.Writer, table map[protoreflect.FullName]extension.Fields) error {
	out := bufio.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(table)) {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		if err != nil {
			continue
		}
		if md, ok := d.(protoreflect.MessageDescriptor); ok && md.Fields().Len() > 0 {
			writeMessage(out, md, table[name])
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write compatibility table: %w", err)
	}
	return nil
}

// writeMessage lists the fields of one message by what becomes of them; fields of the descriptor that are not in the table
// are not supported.
func writeMessage(w io.Writer, md protoreflect.MessageDescriptor, fields extension.Fields) {
	var effective, unsupported, reasons []string
	harmless := map[string][]string{}
	for i := range md.Fields().Len() {
		name := string(md.Fields().Get(i).Name())
		quoted := "`" + name + "`"
		switch f, ok := fields[name]; {
		case !ok:
			unsupported = append(unsupported, quoted)
		case f.Harmless == "":
			effective = append(effective, quoted)
		default:
			if harmless[f.Harmless] == nil {
				reasons = append(reasons, f.Harmless)
			}
			harmless[f.Harmless] = append(harmless[f.Harmless], quoted)
		}
	}
	fmt.Fprintf(w, "### `%s`\n\n", md.FullName())
	list := func(what string, names []string) {
		if len(names) > 0 {
			fmt.Fprintf(w, "- %s: %s\n", what, strings.Join(names, ", "))
		}
	}
	list("effective", effective)
	for _, reason := range reasons {
		list("harmless ("+reason+")", harmless[reason])
	}
	list("not supported", unsupported)
	fmt.Fprintln(w)
}
