package protoyaml

import (
	"fmt"
	"sort"
	"strings"

	"github.com/cncf/xds/go/udpa/annotations"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// maxHintName is the longest name for which a near one is searched.
	maxHintName = 200
	// maxListedNames is how many fields or enum values a hint lists in full.
	maxListedNames = 8
	// maxLevelsUp is how far up a misplaced field is searched.
	maxLevelsUp = 3
)

// unknownField reports a key that names no field of md, which is at frame at.
func (d *decoder) unknownField(key *yaml.Node, md protoreflect.MessageDescriptor, at *frame) {
	if !d.opt.AllowUnknown && len(d.errs) >= maxErrors {
		d.dropped++
		return
	}
	path := at.path()
	hint, near := fieldHint(key.Value, md, at)
	e := Error{
		Line: key.Line, Column: key.Column, Path: join(path, shorten(key.Value)), Suggestion: hint, Code: CodeUnknownField,
		Reason: fmt.Sprintf("unknown field %q in %s", shorten(key.Value), md.FullName()),
	}
	if d.opt.AllowUnknown {
		d.warn(e)
		return
	}
	if near != "" {
		d.spoil(join(path, near))
	}
	d.fail(e)
}

// fieldHint says what an unknown field may have been meant to be. near is the
// name of the field of md that it probably misspells.
func fieldHint(key string, md protoreflect.MessageDescriptor, at *frame) (hint, near string) {
	if len(key) > maxHintName {
		return "", ""
	}
	name := snakeCase(key)
	if use := removedFields()[string(md.FullName())+"."+name]; use != "" {
		return name + " was removed with API v2: " + use, ""
	}
	if md.Fields().ByName(protoreflect.Name("typed_"+name)) != nil {
		return fmt.Sprintf("%s was removed with API v2: use typed_%s with an \"@type\"", name, name), "typed_" + name
	}
	if md.ReservedNames().Has(protoreflect.Name(name)) {
		return name + " was removed from Envoy's API", ""
	}
	near, distance := nearest(name, fieldNames(md))
	if near != "" && distance <= 2 {
		return fmt.Sprintf("did you mean %q?", near), near
	}
	if hint := misplaced(name, md, at); hint != "" {
		return hint, ""
	}
	if near != "" {
		return fmt.Sprintf("did you mean %q?", near), near
	}
	if names := fieldNames(md); len(names) > 0 && len(names) <= maxListedNames {
		return "its fields are " + strings.Join(names, ", "), ""
	}
	return "", ""
}

// misplaced looks for name among the fields of the messages around md, and
// among those of the messages that md holds.
func misplaced(name string, md protoreflect.MessageDescriptor, at *frame) string {
	levels := 0
	for f := at.parent; f != nil && levels < maxLevelsUp; f = f.parent {
		if f.md == nil {
			continue
		}
		levels++
		if f.md.Fields().ByName(protoreflect.Name(name)) == nil {
			continue
		}
		where := f.path()
		if where == "" {
			where = "the top level"
		}
		return fmt.Sprintf("%s is a field of %s: move it to %s", name, f.md.FullName(), where)
	}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if fd.IsMap() || fd.Message() == nil || hasJSONForm(fd.Message().FullName()) {
			continue
		}
		if fd.Message().Fields().ByName(protoreflect.Name(name)) != nil {
			return fmt.Sprintf("%s is a field of %s: put it inside %s", name, fd.Message().FullName(), fd.Name())
		}
	}
	if md.Fields().ByName("typed_config") != nil {
		return "the extension's own fields go inside typed_config"
	}
	return ""
}

func fieldNames(md protoreflect.MessageDescriptor) []string {
	names := make([]string, md.Fields().Len())
	for i := range names {
		names[i] = string(md.Fields().Get(i).Name())
	}
	return names
}

// enumHint says which value of ed a wrong one may have been meant to be.
func enumHint(ed protoreflect.EnumDescriptor, got string) string {
	names := make([]string, ed.Values().Len())
	for i := range names {
		names[i] = string(ed.Values().Get(i).Name())
	}
	if near, _ := nearest(strings.ToUpper(got), names); near != "" && len(got) <= maxHintName {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(names) <= maxListedNames {
		return "its values are " + strings.Join(names, ", ")
	}
	return ""
}

// typeHint says which type URL a wrong one may have been meant to be: for a
// type of API v2 its v3 successor, else the nearest name.
func (d *decoder) typeHint(url string) string {
	ranger, ok := d.opt.resolver().(interface {
		RangeMessages(func(protoreflect.MessageType) bool)
	})
	if !ok || d.typeHints <= 0 || len(url) > maxHintName {
		return ""
	}
	d.typeHints--
	name := url[strings.LastIndexByte(url, '/')+1:]
	var successor string
	ranger.RangeMessages(func(mt protoreflect.MessageType) bool {
		md := mt.Descriptor()
		v, _ := proto.GetExtension(md.Options(), annotations.E_Versioning).(*annotations.VersioningAnnotation)
		if v.GetPreviousMessageType() == name {
			successor = string(md.FullName())
		}
		return successor == ""
	})
	if successor != "" {
		return "API v2 was removed: use " + typePrefix + successor
	}
	if d.types == nil {
		ranger.RangeMessages(func(mt protoreflect.MessageType) bool {
			d.types = append(d.types, string(mt.Descriptor().FullName()))
			return true
		})
		sort.Strings(d.types)
	}
	if near, _ := nearest(name, d.types); near != "" {
		return "did you mean " + typePrefix + near + "?"
	}
	return ""
}

// shortenURL cuts a type URL to what an error text may repeat.
func shortenURL(url string) string {
	if len(url) > maxHintName {
		return url[:maxHintName] + "..."
	}
	return url
}

// nearest returns the candidate with the smallest edit distance from name, if
// that is small enough for a typing error: a third of its length.
func nearest(name string, candidates []string) (best string, distance int) {
	limit := max(1, len(name)/3)
	for _, c := range candidates {
		if diff := len(c) - len(name); diff > limit || -diff > limit {
			continue
		}
		if dist := editDistance(name, c, limit); dist <= limit && (best == "" || dist < distance) {
			best, distance = c, dist
			limit = dist
		}
	}
	return best, distance
}

// editDistance counts insertions, deletions, replacements and swaps of
// neighbours between a and b. It stops early, with limit+1, once it is clear
// that the distance is over limit.
func editDistance(a, b string, limit int) int {
	prev2 := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		low := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
			low = min(low, row[j])
		}
		if low > limit {
			return limit + 1
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}
