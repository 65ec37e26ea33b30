package protoyaml

import (
	"strconv"
	"strings"

	"github.com/cncf/xds/go/udpa/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// noIndex marks a frame that is not an element of a list.
const noIndex = -1

// maxPathParts is how many fields a path shows; of a longer one, which only
// hostile input has, the middle is left out.
const maxPathParts = 60

// frame is one step of the way from the root message to a value. Frames are
// only turned into text when there is something to report.
type frame struct {
	parent *frame
	// name is the field's proto name, empty for the root.
	name string
	// index is the position in a list, or noIndex.
	index int
	// key is the key in a map when isKey is set.
	key   string
	isKey bool
	// md is the message at this frame, nil for scalars.
	md protoreflect.MessageDescriptor
	// fd is the field that leads here, nil for the root and for raw names.
	fd    protoreflect.FieldDescriptor
	depth int
	// optional is set while ValidateMessage walks a message with is_optional.
	optional bool
}

// child returns the frame of field fd of the message at f.
func (f *frame) child(fd protoreflect.FieldDescriptor) *frame {
	c := &frame{parent: f, name: string(fd.Name()), index: noIndex, fd: fd, depth: f.depth + 1}
	if fd.Message() != nil && !fd.IsMap() {
		c.md = fd.Message()
	}
	return c
}

// raw returns the frame of something inside f that has no field descriptor.
func (f *frame) raw(name string) *frame {
	return &frame{parent: f, name: name, index: noIndex, depth: f.depth + 1}
}

// elem returns a copy of f that stands for one element of its list.
func (f *frame) elem(i int) *frame {
	c := *f
	c.index = i
	return &c
}

// entry returns a copy of f that stands for one entry of its map.
func (f *frame) entry(key string, value protoreflect.FieldDescriptor) *frame {
	c := *f
	c.key, c.isKey = key, true
	c.md = value.Message()
	return &c
}

// path returns the way from the root in Envoy's notation.
func (f *frame) path() string {
	var parts []string
	for ; f != nil; f = f.parent {
		part := f.name
		if f.isKey {
			part += "[" + strconv.Quote(f.key) + "]"
		}
		if f.index != noIndex {
			part += "[" + strconv.Itoa(f.index) + "]"
		}
		if part != "" {
			parts = append(parts, part)
		}
	}
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	if len(parts) > maxPathParts {
		head, tail := parts[:maxPathParts/2], parts[len(parts)-maxPathParts/2:]
		parts = append(append(append([]string{}, head...), "..."), tail...)
	}
	return strings.ReplaceAll(strings.Join(parts, "."), ".[", "[")
}

// sensitive reports whether Envoy's API marks the value, or what holds it, as
// a secret that must not be printed.
func (f *frame) sensitive() bool {
	for ; f != nil; f = f.parent {
		if f.fd == nil {
			continue
		}
		if s, ok := proto.GetExtension(f.fd.Options(), annotations.E_Sensitive).(bool); ok && s {
			return true
		}
	}
	return false
}

// join appends a field to a path.
func join(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}
